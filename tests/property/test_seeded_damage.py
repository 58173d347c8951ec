"""Whatever is damaged in a repository is found, and the report names exactly what it costs; nothing else is an alarm.

DAMAGES=1000 and SEED=... in the environment ask for more of them, and for the same ones again.
"""

import os
import random
import secrets
import sys
from collections import Counter

import pytest

from stillhouse.clock import SystemClock
from stillhouse.domain.reports.damage import FileTouched
from stillhouse.repository.check.damage import Damage, damages
from stillhouse.repository.check.orphans import look_for_lost_roots
from stillhouse.repository.check.record import conclude
from stillhouse.repository.check.structure import Checked, check
from stillhouse.repository.check.verify import Rate, longest_unread, verify
from stillhouse.repository.objects import findings
from support.repositories import aged_repository
from support.repositories.aged_repository import KEK, Aged
from support.repositories.damage_truth import Files, Touched, read_truth
from support.repositories.damages import CHECK, NOTICE, Bed, draw_damage
from support.stores.dict_store import DictStore

SEED = os.environ.get("SEED") or secrets.token_hex(4)
DAMAGES = int(os.environ.get("DAMAGES", "150"))
CLOCK = SystemClock()


@pytest.fixture(scope="module")
def aged() -> Aged:
    return aged_repository.make(random.Random(SEED).randrange(1 << 32))


def checked(store: DictStore, cluster: str) -> Checked:
    found = check(store, KEK, cluster, workers=1)
    look_for_lost_roots(found)
    return found


def verified(store: DictStore, cluster: str) -> Checked:
    found = checked(store, cluster)
    if found.place.keys is not None:
        verify(found, longest_unread(found, {}), rate=Rate(0, CLOCK), clock=CLOCK)
    return found


def touched(report: list[Damage]) -> Touched:
    """What all damages of a report touch together, as `damage_truth` has it."""
    found: Touched = {}
    for snapshot in (snapshot for damage in report for snapshot in damage.touches):
        nodes = found.setdefault(snapshot.snapshot, {})
        if snapshot.nodes is None or nodes is None:
            found[snapshot.snapshot] = None
            continue
        for node in snapshot.nodes:
            files = nodes.setdefault(node.node, {})
            if node.files is None or files is None:
                nodes[node.node] = None
                continue
            for file in node.files:
                _add(files, file)
    return found


def _add(files: Files, file: FileTouched) -> None:
    before = files.setdefault(file.path, set())
    ranges = file.blocks or file.bytes
    numbers = {number for first, last in ranges for number in range(first, last + 1)}
    files[file.path] = None if before is None or not ranges else before | numbers


def test_nothing_is_wrong_with_a_sound_repository(aged: Aged) -> None:
    """With a snapshot in the trash, a purged one, a failed one, a pin, and what dead attempts left behind."""
    for cluster in aged.clusters:
        found = verified(aged.store.fork(), cluster)
        assert damages(found) == [] and found.notices == [], SEED
        assert len(found.nodes) == 6 and len(found.packs) > 10
        assert sum(len(pack.pages) for pack in found.packs.values()) > 30


def _is_known_until_it_is_mended(
    bed: Bed, store: DictStore, changes: dict[str, bytes | None], expected: Touched, what: str
) -> None:
    """The record says the same as the report, even to a program that reads no pack, until the right bytes are back."""
    conclude(verified(store, bed.cluster), CLOCK.now())
    keys = check(store, KEK, bed.cluster, workers=1).place.keys
    if keys is None:
        return  # what nobody can open, nobody can seal
    known = findings.read(store, keys)
    assert touched([Damage("", "", "", known.losses)]) == expected, what
    again = checked(store, bed.cluster)
    assert touched(conclude(again, CLOCK.now())) == expected, what
    for key in changes:
        before = bed.aged.store.objects.get(f"c/{bed.cluster}/{key}")
        store.delete(f"c/{bed.cluster}/{key}")
        if before is not None:
            store.put(f"c/{bed.cluster}/{key}", [before[0]])
    for _ in range(2):
        assert conclude(verified(store, bed.cluster), CLOCK.now()) == [], what
    assert findings.read(store, bed.aged.keys(bed.cluster)).keys == frozenset(), what
    assert not any("/findings/" in key for key in store.objects), what


@pytest.mark.timeout(3600)
def test_every_damage_is_found_and_costs_exactly_what_the_report_says(
    aged: Aged, capsys: pytest.CaptureFixture[str]
) -> None:
    beds = [Bed(aged, cluster, read_truth(aged.store, cluster)) for cluster in aged.clusters]
    counts: Counter[str] = Counter()
    for number in range(DAMAGES):
        draw = random.Random(f"{SEED}/{number}")
        bed = draw.choice(beds)
        damage = draw_damage(bed, draw)
        store = bed.aged.store.fork()
        place = f"c/{bed.cluster}/"
        for key, after in damage.changes.items():
            store.delete(place + key)
            if after is not None:
                store.put(place + key, [after])
        counts[f"{damage.name}: {damage.found_by}"] += 1
        what = f"SEED={SEED}, damage {number}: {damage.name} of {sorted(damage.changes)}"
        found = checked(store, bed.cluster)
        if damage.found_by == NOTICE:
            assert any(key.split("/")[1] in " ".join(found.notices) for key in damage.changes), what
            continue
        assert bool(damages(found)) == (damage.found_by == CHECK), what
        report = damages(verified(store, bed.cluster))
        assert {one.key.removeprefix(place) for one in report} == damage.reported, what
        expected = bed.truth.cost(damage.changes)
        if damage.revived:
            expected = {damage.revived: dict.fromkeys(aged_repository.NODES)}
        assert touched(report) == expected, what
        if number % 5 == 0 and damage.found_by != NOTICE:
            _is_known_until_it_is_mended(bed, store, damage.changes, expected, what)
        if number % 10 == 0:
            assert damages(verified(store, bed.other)) == [], what
    with capsys.disabled():
        sys.stdout.write(f"\n{DAMAGES} damages of seed {SEED}, all found: {dict(sorted(counts.items()))}\n")
