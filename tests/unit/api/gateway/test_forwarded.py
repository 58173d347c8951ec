"""The sender of a request: a proxy's word counts only if the proxy is trusted, and only its own word."""

import pytest

from stillhouse.api.gateway.forwarded import NOBODY, Networks, find_sender
from stillhouse.errors import InvalidInput

PROXIES = Networks.parse("10.0.0.0/24, 2001:db8::1")


def address(peer: str, *lines: str, trusted: Networks = PROXIES) -> str:
    headers = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    return find_sender(peer, "http", headers, trusted).address


@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.9", "10.0.1.1"])
def test_the_word_of_a_peer_that_is_no_trusted_proxy_is_nothing(peer: str) -> None:
    assert address(peer, "203.0.113.7") == peer
    assert address("10.0.0.1", "203.0.113.7", trusted=NOBODY) == "10.0.0.1"


def test_a_trusted_proxy_tells_its_own_peer() -> None:
    assert address("10.0.0.1", "203.0.113.7") == "203.0.113.7"
    assert address("2001:db8::1", "203.0.113.7") == "203.0.113.7"


@pytest.mark.parametrize("forged", ["127.0.0.1", "198.51.100.1, 198.51.100.2", "nonsense", "10.0.0.7"])
def test_words_of_the_sender_before_it_count_for_nothing(forged: str) -> None:
    assert address("10.0.0.1", f"{forged}, 203.0.113.7") == "203.0.113.7"
    assert address("10.0.0.1", forged, "203.0.113.7, 10.0.0.2") == "203.0.113.7"


@pytest.mark.parametrize("told", ["", "unknown", "203.0.113.7, nonsense", "a" * 10_000])
def test_where_no_proxy_wrote_an_address_the_last_proxy_is_the_sender(told: str) -> None:
    assert address("10.0.0.1", told) == "10.0.0.1"


def test_ports_and_brackets_are_left_out() -> None:
    assert address("10.0.0.1", "203.0.113.7:4711") == "203.0.113.7"
    assert address("10.0.0.1", "[2001:db8::7]:4711") == "2001:db8::7"
    assert address("10.0.0.1", "::ffff:203.0.113.7") == "203.0.113.7"


def test_the_scheme_is_a_trusted_proxy_s_word_too() -> None:
    told = [(b"x-forwarded-proto", b"https")]
    assert find_sender("10.0.0.1", "http", told, PROXIES).scheme == "https"
    assert find_sender("192.0.2.9", "http", told, PROXIES).scheme == "http"
    assert find_sender("10.0.0.1", "http", [(b"x-forwarded-proto", b"javascript")], PROXIES).scheme == "http"


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"])
def test_any_proxy_s_header_shows_a_proxy(name: str) -> None:
    assert find_sender("127.0.0.1", "http", [(name.encode(), b"x")], NOBODY).is_through_proxy
    assert not find_sender("127.0.0.1", "http", [(b"host", b"x")], NOBODY).is_through_proxy


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_proxies_that_are_no_addresses_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="STILLHOUSE_TRUSTED_PROXIES"):
        Networks.parse(text)
