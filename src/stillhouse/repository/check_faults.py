"""What is wrong with which object, as it is found: faults; what they cost is worked out later, in `check_touch`."""

from dataclasses import dataclass, field, replace

Parts = frozenset[int | str] | None
"""What of an object is lost: ordinals of a pack's frames, of a map's entries, paths of a manifest; None: all."""

NOTHING: Parts = frozenset()

MISSING = "missing"
SIZE = "size"
ALTERED = "altered"
INCONSISTENT = "inconsistent"


@dataclass(frozen=True)
class Fault:
    """`kind`: missing; size: shorter or longer than stored; altered: other bytes; inconsistent: ours, yet wrong."""

    key: str
    kind: str
    detail: str
    parts: Parts = None
    needs: int | None = None
    """The generation of keys that alone is lacking: then it is that object's fault."""


@dataclass
class Faults:
    """One fault per object: the first, with all that is lost."""

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
