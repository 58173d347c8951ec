"""Tells which addresses stand for one sender of requests, wherever senders are counted or locked out."""

import ipaddress
from functools import lru_cache

# A provider gives a customer 64 bits at least, so one sender can use all addresses of such a network.
_IPV6_NETWORK_BITS = 64


@lru_cache(1000)
def sender_of(address: str) -> str:
    """Return the address, or the network of an IPv6 address, that stands for one sender.

    A text that is no address is returned as it is.
    """
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), _IPV6_NETWORK_BITS), strict=False).network_address)
    return str(found)
