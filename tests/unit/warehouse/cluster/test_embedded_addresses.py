"""Which loopback addresses a cluster's nodes get."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from stillhouse.warehouse.cluster.embedded import allocate_hosts


@given(seed=st.text(), number=st.integers(1, 257))
def test_addresses_are_distinct_usable_and_out_of_the_way_of_localhost(seed: str, number: int) -> None:
    hosts = allocate_hosts(number, frozenset(), seed)
    assert len({*hosts}) == number
    for host in map(ipaddress.IPv4Address, hosts):
        assert host in ipaddress.IPv4Network("127.0.0.0/8")
        assert host not in ipaddress.IPv4Network("127.0.0.0/16")
        assert int(host) & 0xFF not in (0, 255)


@given(seed=st.text(), gone=st.integers(1, 600))
def test_a_taken_address_is_never_given_again(seed: str, gone: int) -> None:
    taken = frozenset(allocate_hosts(gone, frozenset(), seed))
    assert taken.isdisjoint(allocate_hosts(3, taken, seed))


def test_the_same_cluster_gets_the_same_addresses() -> None:
    assert allocate_hosts(3, frozenset(), "one") == allocate_hosts(3, frozenset(), "one")
    assert allocate_hosts(3, frozenset(), "one") != allocate_hosts(3, frozenset(), "two")
