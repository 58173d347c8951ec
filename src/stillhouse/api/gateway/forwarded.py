"""Finds the sender of a request: the connection's peer, or the address that a trusted proxy tells.

Anybody may write `X-Forwarded-For`, so it counts only in requests of the proxies that STILLHOUSE_TRUSTED_PROXIES names.
Each proxy appends the address of its own peer. So the list is read from its end: the first address that is no trusted
proxy's is the sender, and everything before it is the sender's own words.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from stillhouse.errors import InvalidInput

# RFC 7239 and RFC 9110 name the first two; proxies commonly add the others.
_MARKS = frozenset({b"forwarded", b"via", b"x-real-ip"})
_MARK = b"x-forwarded-"
_SCHEMES = frozenset({"http", "https"})

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Networks:
    """Addresses and networks of proxies."""

    networks: tuple[_Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Networks":
        """Read addresses and networks, separated by commas. Raises InvalidInput."""
        try:
            parts = [part.strip() for part in text.split(",") if part.strip()]
            return cls(tuple(ipaddress.ip_network(part) for part in parts))
        except ValueError as error:
            raise InvalidInput(
                f"STILLHOUSE_TRUSTED_PROXIES: {error}", hint="give addresses and networks, as 10.0.0.0/24"
            ) from error

    def hold(self, address: str) -> bool:
        """Tell whether the address is one of these; a text that is no address is not."""
        found = _ip(address)
        return found is not None and any(found in network for network in self.networks)


NOBODY = Networks()


@dataclass(frozen=True)
class Sender:
    """`address` is empty if there is none; `is_through_proxy` is true if the headers name any proxy."""

    address: str
    scheme: str
    is_through_proxy: bool


def find_sender(peer: str, scheme: str, headers: _Headers, trusted: Networks) -> Sender:
    """Decide who sent the request that came from `peer`."""
    named = list(headers)
    is_through_proxy = any(name in _MARKS or name.startswith(_MARK) for name, _ in named)
    if not is_through_proxy or not trusted.hold(peer):
        return Sender(peer, scheme, is_through_proxy)
    hops = _values(named, b"x-forwarded-for")
    told = _values(named, b"x-forwarded-proto")
    return Sender(
        address=_last_untrusted(hops, peer, trusted),
        scheme=told[-1].lower() if told and told[-1].lower() in _SCHEMES else scheme,
        is_through_proxy=True,
    )


def _last_untrusted(hops: list[str], peer: str, trusted: Networks) -> str:
    """Walk back from the peer. A hop that is no address ends the walk: nothing before it was written by a proxy."""
    address = peer
    for hop in reversed(hops):
        found = _ip(hop)
        if found is None:
            return address
        address = str(found)
        if not trusted.hold(address):
            return address
    return address


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """Return the comma-separated values of all headers of this name, in order."""
    lines = [value.decode("latin-1") for found, value in headers if found == name]
    return [part.strip() for line in lines for part in line.split(",")]


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address. Some proxies append the port, and write IPv6 addresses in brackets then."""
    bare = text
    if text.startswith("["):
        bare = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        bare = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
