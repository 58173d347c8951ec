"""Join a check with earlier findings: those that it has not disproved still hold, and new ones are written down."""

from collections.abc import Sequence
from datetime import datetime

from stillhouse.errors import Unavailable
from stillhouse.repository import findings, layout
from stillhouse.repository.check import Checked, PackFacts
from stillhouse.repository.check_faults import Fault
from stillhouse.repository.check_touch import Damage, damages


def suspected(checked: Checked) -> list[PackFacts]:
    """Packs of which a finding tells, and which can be read: a look at the whole of them may end it."""
    place = checked.place
    keys = [layout.pack(place.cluster, pack) for pack, facts in checked.packs.items() if facts.is_open]
    return [
        checked.packs[key.rpartition("/")[2]]
        for key in keys
        if key in place.known.faults and not place.faults.is_lost(key)
    ]


def conclude(checked: Checked, now: datetime, expected: Sequence[str] | None = None) -> list[Damage]:
    """Write down all damage, found now or known before, with what it costs.

    `expected` are the snapshots that a catalog knows, where there is one. Where nothing can be written,
    `checked.unrecorded` says why.
    """
    place = checked.place
    for key, fault in place.known.faults.items():
        if key not in place.faults.by_key and not _has_ended(checked, key, expected):
            place.faults.add(fault)
    found = damages(checked)
    if place.keys is None:
        return found
    named = [_fault(checked, damage) for damage in found]
    costs = [touched for damage in found for touched in damage.touches]
    try:
        findings.replace(place.store, place.keys, place.known, named, costs, now)
    except Unavailable as error:
        checked.unrecorded = str(error)
    return found


def _fault(checked: Checked, damage: Damage) -> Fault:
    return checked.place.faults.by_key[damage.key]


def _has_ended(checked: Checked, key: str, expected: Sequence[str] | None) -> bool:
    """Whether this check, which found no fault in an object, has read enough of it to say that it has none."""
    place, (folder, name) = checked.place, key.split("/", 3)[2:4]
    match folder:
        case "packs":
            return key in checked.sound or _is_gone(checked, key)
        case "maps":
            return checked.maps.get(name) is not None or _is_gone(checked, key)
        case "manifests":
            return key in map(checked.key_of_manifest, checked.nodes) or _is_gone(checked, key)
        case "roots":
            return key in place.listed or (expected is not None and name not in expected)
    return True


def _is_gone(checked: Checked, key: str) -> bool:
    """The object is gone, and nothing needs it. A lost root or manifest does not tell which objects it needs."""
    place = checked.place
    is_all_known = not any(
        place.faults.is_lost(one)
        for one in place.faults.by_key
        if layout.folder(one) in ("roots", "manifests", "keys")
    )
    return is_all_known and key not in place.listed and key not in checked.reached()
