"""Ends with 0 if the service in this container answers, else with 1."""

import http.client
import os
import sys


def served_name() -> str:
    """A host name that the service answers to: the first of LATENTHASH_HOSTS."""
    names = os.environ.get("LATENTHASH_HOSTS", "").replace(",", " ").split()
    return names[0].lstrip(".*") if names and names[0] != "*" else "localhost"


def main() -> str | None:
    """Ask /healthz; what is wrong, if anything. The port may be given as the argument."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz", headers={"Host": served_name()})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    return None if status == 200 else f"/healthz answers {status}"


if __name__ == "__main__":
    sys.exit(main())
