"""Access policies, and the decision whether they permit an operation. Pure. Deny wins, and the default is to refuse.

An operation has several names (see `domain.api_operations`). A statement that means one of them means the operation:
otherwise a Deny with an older name would have no effect. Names are compared without regard to case, as IAM compares
resource types and actions.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

EVERYTHING = "*"


@dataclass(frozen=True)
class Statement:
    """One statement. `actions` and `clusters` are patterns in lower case. `*` matches any text, even an empty one."""

    allow: bool
    actions: tuple[str, ...]
    clusters: tuple[str, ...] = (EVERYTHING,)

    def means(self, names: Collection[str]) -> bool:
        return any(matches(pattern, name.lower()) for pattern in self.actions for name in names)

    @property
    def is_narrow(self) -> bool:
        return EVERYTHING not in self.clusters

    def covers(self, cluster: str | None) -> bool:
        """Whether the statement covers a cluster. `None` means an operation on no single cluster: only a statement
        about all clusters covers it.
        """
        if cluster is None:
            return not self.is_narrow
        return any(matches(pattern, cluster.lower()) for pattern in self.clusters)


@dataclass(frozen=True)
class Policy:
    statements: tuple[Statement, ...]


FULL_ACCESS = "DWS FullAccess"
READ_ONLY_ACCESS = "DWS ReadOnlyAccess"
REGISTRAR = "Stillhouse Registrar"  # beside the others: FULL_ACCESS does not register servers
BUILT_IN = {
    FULL_ACCESS: Policy((Statement(allow=True, actions=("dws:*:*",)),)),
    REGISTRAR: Policy((Statement(allow=True, actions=("stillhouse:cluster:register",)),)),
    READ_ONLY_ACCESS: Policy((Statement(allow=True, actions=("dws:*:get*", "dws:*:list*")),)),
}


@dataclass(frozen=True)
class Permissions:
    """The permissions of one caller. Every one of `grants` must allow an operation. A grant is the union of its
    policies.

    A temporary key has two grants: its parent's, and the policy that narrows it. Without a grant nothing is allowed.
    """

    grants: tuple[tuple[Policy, ...], ...] = ()

    @property
    def are_narrow(self) -> bool:
        """Whether some permission depends on the cluster."""
        return any(statement.is_narrow for grant in self.grants for statement in _statements(grant))

    def allow(self, names: Collection[str], cluster: str | None) -> bool:
        """Whether the operation with these names is allowed on the cluster. `None` means on no single cluster."""
        return bool(self.grants) and all(_allows(grant, names, cluster) for grant in self.grants)

    def may_allow(self, names: Collection[str]) -> bool:
        """Whether the operation may be allowed on some cluster. Use it while the cluster is not known yet.

        It may be true although no cluster qualifies. It is never false if one does.
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
    """Whether `text` matches `pattern`, in which `*` matches any text. Takes time linear in both lengths."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if len(first) + len(last) > len(text) or not (text.startswith(first) and text.endswith(last)):
        return False
    place, end = len(first), len(text) - len(last)
    for part in middle:
        # The earliest match leaves the most room for the following parts.
        found = text.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return True
