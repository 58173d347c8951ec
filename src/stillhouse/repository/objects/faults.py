"""Faults of objects, as a check finds them. Their cost is worked out later, in `check_touch`."""

from dataclasses import dataclass, field, replace

Parts = frozenset[int | str] | None
"""The lost parts of an object: ordinals of a pack's frames or a map's entries, or paths of a manifest.

None means all.
"""

NOTHING: Parts = frozenset()

MISSING = "missing"
SIZE = "size"
ALTERED = "altered"
INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Fault:
    """One fault of an object.

    `kind` is missing, size (shorter or longer than stored), altered (other bytes) or inconsistent (written by us, but
    wrong).
    """

    key: str
    kind: str
    detail: str
    parts: Parts = None
    needs: int | None = None
    """The generation of keys that is missing, if that is the only cause.

    The fault then belongs to the object of keys.
    """


@dataclass
class Faults:
    """One fault per object: the first one found, with the lost parts of all of them."""

    by_key: dict[str, Fault] = field(default_factory=dict)

    def add(self, fault: Fault) -> None:
        known = self.by_key.get(fault.key)
        if known is None:
            self.by_key[fault.key] = fault
        elif known.parts is None or fault.parts is None:
            self.by_key[fault.key] = replace(known, parts=None)
        else:
            self.by_key[fault.key] = replace(known, parts=known.parts | fault.parts)

    def is_lost(self, key: str) -> bool:
        return key in self.by_key and self.by_key[key].parts is None
