"""Manifests without a root. They reveal lost roots, which a listing of the bucket alone cannot show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from stillhouse.errors import ObjectMissing, RepositoryDamaged
from stillhouse.repository.check.structure import Checked
from stillhouse.repository.check.survey import Place
from stillhouse.repository.format import layout
from stillhouse.repository.format.container import TAIL_BYTES, Container
from stillhouse.repository.format.lines import NodeLine
from stillhouse.repository.format.manifest import head_of, lines_of
from stillhouse.repository.objects.faults import MISSING, Fault

# A root is written moments after the last of its manifests.
_LATE = timedelta(days=1)

_TAIL = 64 << 10  # bytes; nearly every index is in them, and most manifests of lost attempts as a whole


@dataclass(frozen=True)
class _Orphan:
    manifest: str
    snapshot: str
    node: str


def look_for_lost_roots(checked: Checked, expected: Sequence[str] = ()) -> None:
    """Report lost roots. A later snapshot that builds on an orphan proves that its root existed: a fault.

    Other orphans are notices. `expected` are the snapshots that a catalog knows to be published: this finds roots that
    the bucket alone cannot reveal.
    """
    place = checked.place
    if place.keys is None:
        return
    for snapshot in expected:
        if place.size(layout.root(place.cluster, snapshot)) is None:
            detail = "is gone, though the catalog has its snapshot"
            place.charge(Fault(layout.root(place.cluster, snapshot), MISSING, detail))
    bases = {node.base for root in place.roots.values() for node in root.nodes}
    lost: dict[str, list[_Orphan]] = {}
    for orphan in _orphans(checked):
        if place.size(layout.root(place.cluster, orphan.snapshot)) is None:
            lost.setdefault(orphan.snapshot, []).append(orphan)
    for snapshot, orphans in sorted(lost.items()):
        if any(orphan.manifest in bases for orphan in orphans):
            detail = "is gone, though a later snapshot builds on it"
            place.charge(Fault(layout.root(place.cluster, snapshot), MISSING, detail))
        elif snapshot not in place.pinned:
            nodes = ", ".join(sorted(orphan.node for orphan in orphans))
            checked.notices.append(
                f"snapshot {snapshot} has no root, but complete manifests ({nodes}): it may have had one,"
                " or be of an attempt that died before publishing, or at work"
            )
    _look_for_late_roots(checked)


def _orphans(checked: Checked) -> list[_Orphan]:
    """Complete manifests without a root. Parts are left out: they are never published."""
    place = checked.place
    folder = f"{layout.all_of(place.cluster)}manifests/"
    named = {checked.key_of_manifest(node) for node in checked.nodes}
    lonely = [key for key in sorted(place.listed) if key.startswith(folder) and key not in named]
    found = []
    for key, head in zip(lonely, place.each(partial(_head, place), lonely), strict=True):
        if head and head.get("cut") and isinstance(head.get("snapshot"), str):
            found.append(_Orphan(key.removeprefix(folder), head["snapshot"], str(head.get("node", "?"))))
    return found


def _head(place: Place, key: str) -> NodeLine | None:
    """The first line of a manifest, read without the rest: no parent tells its size. `None` if it does not open."""
    assert place.keys is not None
    size = place.listed[key].size
    at = max(0, size - _TAIL)

    def read(offset: int, length: int) -> bytes:
        return tail[offset - at :][:length] if offset >= at else place.store.get_range(key, offset, length)

    try:
        if size < TAIL_BYTES:
            return None
        tail = place.store.get_range(key, at, size - at)
        return head_of(lines_of(key, Container(key, place.keys, tail, read, size)))
    except (RepositoryDamaged, ObjectMissing, StopIteration):
        return None  # nothing needs it, so nothing is lost by it


def _look_for_late_roots(checked: Checked) -> None:
    """Report roots much younger than the objects they name.

    The likely cause: a root put back over a purge's tombstone.
    """
    place = checked.place
    for snapshot, root in sorted(place.roots.items()):
        mine = place.listed.get(layout.root(place.cluster, snapshot))
        keys = [layout.manifest(place.cluster, node.manifest) for node in root.nodes]
        times = [place.listed[key].modified for key in keys if key in place.listed]
        if mine and times and mine.modified - max(times) > _LATE:
            checked.notices.append(
                f"the root of snapshot {snapshot} was written {(mine.modified - max(times)).days} days after its"
                " manifests: it was copied here, or a deleted snapshot was put back"
            )
