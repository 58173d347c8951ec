"""Policies and what they permit. Pure: deny wins, and what nothing allows is refused.

An operation goes by several names (see `domain.actions`); a statement that means one of them means
the operation, or a Deny written in the older words would not deny. Names are compared without regard
to case, as IAM compares resource types and actions.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

EVERYTHING = "*"


@dataclass(frozen=True)
class Statement:
    """`actions` and `clusters` are patterns in lower case, in which `*` stands for any text, or none."""

    allow: bool
    actions: tuple[str, ...]
    clusters: tuple[str, ...] = (EVERYTHING,)

    def means(self, names: Collection[str]) -> bool:
        return any(matches(pattern, name.lower()) for pattern in self.actions for name in names)

    @property
    def is_narrow(self) -> bool:
        return EVERYTHING not in self.clusters

    def covers(self, cluster: str | None) -> bool:
        """None stands for what concerns no single cluster: only a statement about all covers it."""
        if cluster is None:
            return not self.is_narrow
        return any(matches(pattern, cluster.lower()) for pattern in self.clusters)


@dataclass(frozen=True)
class Policy:
    statements: tuple[Statement, ...]


FULL_ACCESS = "DWS FullAccess"
READ_ONLY_ACCESS = "DWS ReadOnlyAccess"
BUILT_IN = {
    FULL_ACCESS: Policy((Statement(allow=True, actions=("dws:*:*",)),)),
    READ_ONLY_ACCESS: Policy((Statement(allow=True, actions=("dws:*:get*", "dws:*:list*")),)),
}


@dataclass(frozen=True)
class Permissions:
    """What one caller may do: all of `grants` must allow it, each of them the union of its policies.

    A temporary key has two: its parent's, and what it was narrowed down to. Without any grant
    nothing is allowed.
    """

    grants: tuple[tuple[Policy, ...], ...] = ()

    @property
    def are_narrow(self) -> bool:
        """Whether it may matter which cluster is meant."""
        return any(statement.is_narrow for grant in self.grants for statement in _statements(grant))

    def allow(self, names: Collection[str], cluster: str | None) -> bool:
        """Whether the operation of these names may be done to this cluster; None = to no single one."""
        return bool(self.grants) and all(_allows(grant, names, cluster) for grant in self.grants)

    def may_allow(self, names: Collection[str]) -> bool:
        """Whether a cluster is thinkable for which the operation is allowed; for when it is not yet known which.

        May be true where no such cluster exists, and is never false where one does.
        """
        return bool(self.grants) and all(_may_allow(grant, names) for grant in self.grants)


NOTHING = Permissions()


def _allows(grant: Iterable[Policy], names: Collection[str], cluster: str | None) -> bool:
    speaking = [one for one in _statements(grant) if one.means(names) and one.covers(cluster)]
    return bool(speaking) and all(statement.allow for statement in speaking)


def _may_allow(grant: Iterable[Policy], names: Collection[str]) -> bool:
    speaking = [one for one in _statements(grant) if one.means(names)]
    return any(one.allow for one in speaking) and all(one.allow or one.is_narrow for one in speaking)


def _statements(grant: Iterable[Policy]) -> list[Statement]:
    return [statement for policy in grant for statement in policy.statements]


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern` with something in the place of each `*`; in time linear in both."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(first) + len(last) > len(text) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        # The earliest place leaves the most room for what follows.
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
