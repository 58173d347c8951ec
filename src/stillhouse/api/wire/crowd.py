"""Counts connections, in all and per address, and decides which of them stays when there are too many."""

from collections import defaultdict
from typing import Protocol

from stillhouse.api.gateway.forwarded import NOBODY, Networks
from stillhouse.domain.access.senders import sender_of


class Connection(Protocol):
    """One open connection."""

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is under way on it."""

    def give_way(self) -> None:
        """Close it at once."""


class Crowd:
    """The open connections. Used by the event loop's thread only."""

    def __init__(self, most: int, most_per_address: int, unbounded: Networks = NOBODY) -> None:
        """`unbounded` are proxies, each of which speaks for many senders: `most_per_address` does not hold for them."""
        self._most = most
        self._most_per_address = most_per_address
        self._unbounded = unbounded
        self._by_sender: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._count = 0

    def admit(self, connection: Connection, address: str) -> bool:
        """Count the connection in, unless there is no room for another from this address.

        When there is no room at all, an idle connection of the address that has the most gives way to a sender who has
        fewer. So a single sender cannot shut out the others.
        """
        sender = sender_of(address)
        held = self._by_sender.get(sender, {})
        if len(held) >= self._most_per_address and not self._unbounded.hold(address):
            return False
        if self._count >= self._most and not self._make_room(len(held)):
            return False
        self._by_sender[sender][connection] = None
        self._count += 1
        return True

    def leave(self, connection: Connection, address: str) -> None:
        """Count the connection out. One that was not counted in is ignored."""
        sender = sender_of(address)
        held = self._by_sender.get(sender, {})
        if connection in held:
            del held[connection]
            self._count -= 1
            if not held:
                del self._by_sender[sender]

    def _make_room(self, than: int) -> bool:
        """Close one idle connection of the sender with the most, if that sender keeps more than `than` others."""
        sender, held = max(self._by_sender.items(), key=lambda item: len(item[1]))
        idle = next((one for one in held if one.is_idle), None)
        if len(held) <= than + 1 or idle is None:
            return False
        self.leave(idle, sender)
        idle.give_way()
        return True
