"""What a request is refused with: a status, a code for programs, a message for people."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818  (it is not an error of the server)
    """A refusal; the message says what is wrong, then the remedy."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code, self.message = status, code, message
        super().__init__(message)

    def to_json(self) -> dict[str, dict[str, str]]:
        """As every refusal looks."""
        return {"error": {"code": self.code, "message": self.message}}


def not_found(what: str) -> Problem:
    """404."""
    return Problem(404, "not_found", what)


def invalid(what: str) -> Problem:
    """422."""
    return Problem(422, "invalid", what)
