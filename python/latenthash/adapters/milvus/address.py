"""Where an index lies in Milvus: `milvus://host:port/collection`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from ...errors import DataError

PORT = 19530
TOKEN = "LATENTHASH_MILVUS_TOKEN"
"""Variable of the environment with "user:password" or a token; never part of an address."""
_SCHEME = "milvus"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # Milvus allows 255; ours get a suffix
_FORM = "give milvus://host:port/collection, ?db=NAME&secure=yes behind it if need be"


@dataclass(frozen=True)
class Address:
    """One index in Milvus.

    Attributes:
        host: name or number of the server.
        port: of its gRPC service.
        collection: its name; the collections that hold the data begin with it.
        database: of Milvus; "" is the default one.
        secure: the connection is encrypted.
    """

    host: str
    port: int
    collection: str
    database: str = ""
    secure: bool = False

    @property
    def uri(self) -> str:
        """As pymilvus takes it."""
        return f"{'https' if self.secure else 'http'}://{self.host}:{self.port}"

    def __str__(self) -> str:
        options = [f"db={self.database}"] * bool(self.database) + ["secure=yes"] * self.secure
        return f"{_SCHEME}://{self.host}:{self.port}/{self.collection}" + (
            f"?{'&'.join(options)}" if options else ""
        )


def parse(text: str) -> Address:
    """Read an address.

    Raises:
        DataError: it is none, or it holds a password.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
    except ValueError as error:
        raise DataError(f"{text!r}: {error}", _FORM) from error
    if parts.username is not None or parts.password is not None:
        raise DataError("an address with a password", f"set {TOKEN}=user:password instead")
    collection = parts.path.removeprefix("/")
    known = set(options) <= {"db", "secure"} and options.get("secure", "yes") in ("yes", "no")
    if parts.scheme != _SCHEME or not host or not known:
        raise DataError(f"{text!r}: is no address of Milvus", _FORM)
    if not _NAME.fullmatch(collection):
        raise DataError(
            f"{text!r}: {collection!r} is no name of a collection",
            "letters, digits and _ make one, 200 at most; no digit first",
        )
    return Address(
        host, port or PORT, collection, options.get("db", ""), options.get("secure") == "yes"
    )
