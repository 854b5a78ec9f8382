"""Pictures from addresses that people give: public ones only, little, and soon.

The name is resolved once, all addresses it has must be public, and the connection goes
to the address that was checked, so that a name server cannot change its mind in between.
Every redirect is such a step again.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from threading import Timer
from time import monotonic
from urllib.parse import SplitResult, urljoin, urlsplit

from .errors import Problem, invalid
from .uploads import too_large

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = 3
_CHUNK = 1 << 16
# Addresses within which others are wrapped: what is inside is not what is_global judges.
_WRAPPED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))
_MOVED = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Limits:
    """How much of what may be fetched.

    Attributes:
        size: bytes.
        seconds: for all steps together.
        networks: private ones that are permitted all the same, on any port.
    """

    size: int
    seconds: float
    networks: tuple[Network, ...] = ()


def _refused(message: str) -> Problem:
    return invalid(f"{message} - give the public http(s) address of a picture")


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a name."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet, whatever it is wrapped in."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address.is_site_local or any(address in network for network in _WRAPPED):
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def fetch(url: str, limits: Limits, find: Resolve = resolve) -> bytes:
    """Bytes at an address.

    Raises:
        Problem: not permitted, not there, or no success (422); too large (413).
    """
    ends = monotonic() + limits.seconds
    for _ in range(_REDIRECTS + 1):
        target = _checked(url)
        address = _permitted(target, limits, find)
        try:
            body, location = _get(target, address, limits, ends)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "took too long" if monotonic() >= ends else "cannot be fetched"
            raise _refused(f"the address {reason}") from error
        if location is None:
            return body
        url = urljoin(url, location)
    raise _refused(f"more than {_REDIRECTS} redirects")


def _checked(url: str) -> SplitResult:
    """Parts of an address of a form that is taken."""
    if not url.isprintable() or " " in url or "\\" in url:
        raise _refused("the address has characters that belong in none")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _refused("this is no address") from error
    if parts.scheme not in _PORTS or not host:
        raise _refused("only http and https are fetched")
    if parts.username is not None or parts.password is not None:
        raise _refused("addresses with a user name are not fetched")
    return parts


def _permitted(target: SplitResult, limits: Limits, find: Resolve) -> str:
    """The address to connect to; all that the name has must be permitted."""
    port = target.port or _PORTS[target.scheme]
    try:
        found = [ipaddress.ip_address(text.split("%")[0]) for text in find(_host(target), port)]
    except (OSError, UnicodeError, ValueError) as error:
        raise _refused("the name is not known") from error
    for address in found:
        listed = any(address in network for network in limits.networks)
        if not listed and not is_public(address):
            raise _refused("private addresses are not fetched")
        if not listed and port != _PORTS[target.scheme]:
            raise _refused("only the usual ports are fetched")
    if not found:
        raise _refused("the name is not known")
    return str(found[0])


def _host(target: SplitResult) -> str:
    return (target.hostname or "").encode("idna").decode() if target.hostname else ""


class _Pinned(http.client.HTTPConnection):
    """Connects to one address, whatever the name resolves to by now."""

    def __init__(self, target: SplitResult, address: str, seconds: float) -> None:
        port = target.port or _PORTS[target.scheme]
        super().__init__(target.hostname or "", port, timeout=seconds)
        self._target, self._address = target, address
        self._wire: socket.socket | None = None

    def connect(self) -> None:
        """Open the socket; TLS is checked against the name."""
        self._wire = socket.create_connection((self._address, self.port), self.timeout)
        if self._target.scheme == "https":
            context = ssl.create_default_context()
            host = self._target.hostname
            self._wire = context.wrap_socket(self._wire, server_hostname=host)
        self.sock = self._wire

    def stop(self) -> None:
        """End whatever waits for this connection, also where it was handed to a response."""
        if self._wire is not None:
            with suppress(OSError):  # it ended by itself
                self._wire.shutdown(socket.SHUT_RDWR)


def _get(
    target: SplitResult, address: str, limits: Limits, ends: float
) -> tuple[bytes, str | None]:
    """Body, or where else to look."""
    left = ends - monotonic()
    if left <= 0:
        raise TimeoutError
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    with closing(_Pinned(target, address, left)) as connection:
        # A socket's own limit begins anew with every byte; this one does not.
        watch = Timer(left, connection.stop)
        watch.daemon = True
        watch.start()
        try:
            asked = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "latenthash"}
            connection.request("GET", path, headers=asked)
            with closing(connection.getresponse()) as response:
                location = response.getheader("Location")
                if response.status in _MOVED and location:
                    return b"", location
                if response.status != 200:
                    raise _refused(f"the address answers {response.status}")
                return _body(response, limits.size, ends), None
        finally:
            watch.cancel()


def _body(response: http.client.HTTPResponse, most: int, ends: float) -> bytes:
    if (response.length or 0) > most:
        raise too_large()
    parts, size = [], 0
    while part := response.read1(_CHUNK):
        size += len(part)
        if size > most:
            raise too_large()
        parts.append(part)
    if monotonic() >= ends:  # cut off by the watch, which looks like an end
        raise TimeoutError
    return b"".join(parts)
