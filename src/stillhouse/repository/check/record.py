"""Combine a check with earlier findings: findings that it has not disproved still hold, and new ones are recorded."""

from collections.abc import Sequence
from datetime import datetime

from stillhouse.errors import Unavailable
from stillhouse.repository.check.damage import Damage, damages
from stillhouse.repository.check.structure import Checked, PackFacts
from stillhouse.repository.format import layout
from stillhouse.repository.objects import findings
from stillhouse.repository.objects.faults import Fault


def suspected(checked: Checked) -> list[PackFacts]:
    """Readable packs that a finding names. Reading them whole may disprove it."""
    place = checked.place
    keys = [layout.pack(place.cluster, pack) for pack, facts in checked.packs.items() if facts.is_open]
    return [
        checked.packs[key.rpartition("/")[2]]
        for key in keys
        if key in place.known.faults and not place.faults.is_lost(key)
    ]


def conclude(checked: Checked, now: datetime, expected: Sequence[str] | None = None) -> list[Damage]:
    """Record all damage, new or already known, with its cost.

    `expected` are the snapshots that a catalog knows, if there is one. If nothing can be written, `checked.unrecorded`
    says why.
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
    """Whether the finding is disproved: this check found no fault in the object and read enough of it to be sure."""
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
    """Whether the object is gone and nothing needs it. A lost root or manifest hides which objects it needs."""
    place = checked.place
    is_all_known = not any(
        place.faults.is_lost(one)
        for one in place.faults.by_key
        if layout.folder(one) in ("roots", "manifests", "keys")
    )
    return is_all_known and key not in place.listed and key not in checked.reached()
