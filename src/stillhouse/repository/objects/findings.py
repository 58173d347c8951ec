"""The records of known damage in a cluster's part of a repository (docs/format.md, section 6).

No capture builds on an object with a finding, and no snapshot that reaches one is published. A record is written
once, under a fresh id. A new look writes a new record, which replaces the records that held when the look began. So
two looks at the same time lose no finding.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from stillhouse.domain.ids import new_hex
from stillhouse.domain.object_kinds import MOST_LINE, Type, most_of
from stillhouse.domain.reports.damage import SnapshotTouched
from stillhouse.errors import FormatUnknown, ObjectMissing, RepositoryDamaged, StoreUnavailable
from stillhouse.repository.format import layout, sealed
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import MAX_FRAME, Container
from stillhouse.repository.format.fields import encode_line, parse
from stillhouse.repository.format.lines import FaultLine, FindingsLine, RecordLine
from stillhouse.repository.format.manifest import split_lines
from stillhouse.repository.objects import losses
from stillhouse.repository.objects.faults import Fault, Faults, Parts
from stillhouse.storage.store import ObjectStore, StoredObject

_LOOKS = 5
_DETAIL = 1000
_MOST_REPLACED = 20_000  # ids in one line; the others hold until the next look
_LINES = frozenset({"findings", "fault", "loss"})


@dataclass(frozen=True)
class Findings:
    """All records together. `records` are those that hold; `replaced` have been replaced by others.

    `found` says when each fault was first found. `is_worked_out` means that `losses` is the full cost of the faults.
    """

    cluster: str
    records: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    faults: Mapping[str, Fault] = field(default_factory=dict)
    found: Mapping[str, datetime] = field(default_factory=dict)
    losses: tuple[SnapshotTouched, ...] = ()
    is_worked_out: bool = True

    @property
    def keys(self) -> frozenset[str]:
        """The keys of all objects that a finding names, whether or not the finding costs anything."""
        return frozenset(self.faults)

    def costly(self, reached: Iterable[str]) -> list[Fault]:
        """The faults of these objects that lose something a restore needs."""
        return [
            fault
            for key in reached
            if (fault := self.faults.get(key)) is not None and (fault.parts is None or fault.parts)
        ]


@dataclass(frozen=True)
class Record:
    """One record object."""

    id: str
    replaces: frozenset[str]
    is_worked_out: bool
    faults: tuple[tuple[Fault, datetime], ...]
    losses: tuple[SnapshotTouched, ...]


def read(store: ObjectStore, keys: ClusterKeys) -> Findings:
    """Read all records. A record that does not open is skipped. Raises StoreUnavailable."""
    cluster = str(keys.cluster)
    return _together(cluster, _read_all(store, keys))


def note(store: ObjectStore, keys: ClusterKeys, faults: Sequence[Fault], now: datetime) -> bool:
    """Record new faults, met during other work, without working out their cost. Returns False when all were known."""
    known = read(store, keys).faults
    fresh = [fault for fault in faults if not _covers(known.get(fault.key), fault)]
    if fresh:
        _store(store, keys, (), [(fault, now) for fault in fresh], (), is_worked_out=False)
    return bool(fresh)


def replace(
    store: ObjectStore,
    keys: ClusterKeys,
    known: Findings,
    faults: Iterable[Fault],
    costs: Iterable[SnapshotTouched],
    now: datetime,
    *,
    is_worked_out: bool = True,
) -> None:
    """Replace the findings that were `known` when the look began by these faults."""
    left = [(fault, known.found.get(fault.key, now)) for fault in faults]
    told = tuple(losses.bounded(one) for one in costs)
    if _says(known, left, told, is_worked_out):
        return
    if left or known.faults:
        _store(store, keys, known.records, left, told, is_worked_out=is_worked_out)
        gone: Collection[str] = known.replaced
    else:  # no record that holds has content, so the replaced ones may go after it
        gone = (*known.replaced, *known.records)
    for record in gone:
        store.delete(layout.findings(known.cluster, record))


def forget(
    store: ObjectStore,
    keys: ClusterKeys,
    known: Findings,
    is_gone: Callable[[str], bool],
    closed: Collection[str],
    now: datetime,
) -> None:
    """Remove the `known` findings about objects that are gone, and the losses of snapshots that are `closed`."""
    left = [fault for key, fault in known.faults.items() if not is_gone(key)]
    costs = [one for one in known.losses if one.snapshot not in closed] if left else []
    replace(store, keys, known, left, costs, now, is_worked_out=known.is_worked_out)


def _says(
    known: Findings,
    faults: Sequence[tuple[Fault, datetime]],
    costs: Sequence[SnapshotTouched],
    is_worked_out: bool,
) -> bool:
    """Whether a single record has exactly this content already, and no replaced record waits to be removed."""
    return (
        len(known.records) == bool(known.faults)
        and not known.replaced
        and dict(known.faults) == {fault.key: fault for fault, _ in faults}
        and known.losses == tuple(losses.together(costs))
        and known.is_worked_out == is_worked_out
    )


def _covers(known: Fault | None, fault: Fault) -> bool:
    if known is None:
        return False
    return known.parts is None or (fault.parts is not None and fault.parts <= known.parts)


# -- as it is stored ---------------------------------------------------------------------------------------------------


def _read_all(store: ObjectStore, keys: ClusterKeys) -> list[Record]:
    """Read all records as of one moment. If a listed one is gone, it was replaced, and the listing is repeated."""
    cluster = str(keys.cluster)
    for _ in range(_LOOKS):
        found: list[Record] = []
        try:
            for stored in store.list(layout.findings_of(cluster)):
                if (record := _read(store, keys, stored)) is not None:
                    found.append(record)
        except ObjectMissing:
            continue
        return found
    raise StoreUnavailable(f"{layout.findings_of(cluster)} lists objects that are gone", hint="try again")


def _read(store: ObjectStore, keys: ClusterKeys, stored: StoredObject) -> Record | None:
    try:
        return decode(stored.key, sealed.open_small(store, keys, stored.key, stored.size))
    except RepositoryDamaged:
        return None


def _lines(key: str, opened: Container) -> Iterator[RecordLine]:
    for number, text in enumerate(split_lines(key, opened.plain())):
        line: Any = parse(key, text)
        kind = line.get("t")
        if not isinstance(kind, str) or (number == 0) != (kind == "findings"):
            raise RepositoryDamaged(f"{key} is not a record of findings")
        if kind not in _LINES and kind[:1].isupper():
            raise FormatUnknown(f"{key} needs a newer program: it holds {kind!r}")
        yield line


def decode(key: str, opened: Container) -> Record:
    """Decode a record. Raises RepositoryDamaged for any other object, or one that needs a newer program."""
    head: Mapping[str, Any] = {}
    faults: list[tuple[Fault, datetime]] = []
    costs: list[SnapshotTouched] = []
    place = key[: key.index("/findings/") + 1]
    try:
        for line in _lines(key, opened):
            if line["t"] == "findings":
                head = line
            elif line["t"] == "fault":
                faults.append((_fault(place, line), datetime.fromisoformat(line["found"]).astimezone(UTC)))
            elif line["t"] == "loss":
                costs.append(losses.of_line(line))
        replaces = frozenset(map(str, head["replaces"]))
        return Record(key.rpartition("/")[2], replaces, bool(head["worked_out"]), tuple(faults), tuple(costs))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise RepositoryDamaged(f"{key} is not a record of findings") from None


def _fault(place: str, line: FaultLine) -> Fault:
    lost: Parts = None if line["lost"] is None else frozenset(line["lost"])
    return Fault(f"{place}{line['key']}", str(line["kind"]), str(line["detail"]), lost)


def _together(cluster: str, records: Sequence[Record]) -> Findings:
    replaced = frozenset().union(*(record.replaces for record in records))
    hold = [record for record in records if record.id not in replaced]
    faults, found = Faults(), dict[str, datetime]()
    for record in hold:
        for fault, time in record.faults:
            faults.add(fault)
            found[fault.key] = min(time, found.get(fault.key, time))
    return Findings(
        cluster,
        tuple(sorted(record.id for record in hold)),
        tuple(sorted(record.id for record in records if record.id in replaced)),
        faults.by_key,
        found,
        tuple(losses.together(one for record in hold for one in record.losses)),
        all(record.is_worked_out for record in hold if record.faults),
    )


def _store(
    store: ObjectStore,
    keys: ClusterKeys,
    replaces: Iterable[str],
    faults: Sequence[tuple[Fault, datetime]],
    costs: Iterable[SnapshotTouched],
    *,
    is_worked_out: bool,
) -> None:
    """Store findings as one record, or as several if one would be too large. The last one replaces the older ones."""
    place = layout.all_of(str(keys.cluster))
    lines: Iterator[RecordLine] = chain(
        (_fault_line(place, fault, time) for fault, time in faults),
        (line for one in costs for line in losses.lines(one)),
    )
    part: list[bytes] = []
    room = most = most_of(Type.FINDINGS) - MOST_LINE  # without the head
    for line in map(encode_line, lines):
        if len(line) > room:
            _store_record(store, keys, (), part, is_worked_out=is_worked_out)
            part, room = [], most
        part.append(line)
        room -= len(line)
    _store_record(store, keys, replaces, part, is_worked_out=is_worked_out)


def _store_record(
    store: ObjectStore, keys: ClusterKeys, replaces: Iterable[str], lines: list[bytes], *, is_worked_out: bool
) -> None:
    record_id = new_hex()
    head: FindingsLine = {
        "t": "findings",
        "format": 1,
        "replaces": sorted(replaces)[:_MOST_REPLACED],
        "worked_out": is_worked_out,
    }
    chunks = sealed.seal(keys, Type.FINDINGS, record_id, b"".join([encode_line(head), *lines]))
    sealed.create(store, layout.findings(str(keys.cluster), record_id), record_id, chunks)


def _may_stand_in_a_line(parts: Sequence[int | str]) -> bool:
    try:
        return sum(len(str(part).encode()) + 3 for part in parts) < MAX_FRAME // 2
    except UnicodeEncodeError:  # a name that is not UTF-8
        return False


def _fault_line(place: str, fault: Fault, time: datetime) -> FaultLine:
    lost: list[int | str] | None = None
    if fault.parts is not None:
        lost = sorted(fault.parts, key=lambda part: (isinstance(part, str), part))
        if not _may_stand_in_a_line(lost):
            lost = None  # all of it: never report less than is lost
    return {
        "t": "fault",
        "key": fault.key.removeprefix(place),
        "kind": fault.kind,
        "detail": fault.detail[:_DETAIL],
        "lost": lost,
        "found": time.isoformat(),
    }
