"""Damages drawn by a seed: what may happen to the objects of one cluster of an `aged_repository`."""

import json
import random
import uuid
from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from stillhouse.domain.object_kinds import Type
from stillhouse.repository.format.cipher_keys import ClusterKeys
from stillhouse.repository.format.container import ContainerWriter, Kind, open_bytes
from support.repositories.aged_repository import Aged
from support.repositories.damage_truth import Truth

CHECK, VERIFY, NOTICE = "check", "verify", "notice"
"""What finds it. A notice alone: nothing that is left proves that anything is lost."""


@dataclass(frozen=True)
class Damage:
    """`changes` are by keys below the cluster: new bytes, or None where the object is gone.

    `reported` are the keys that the report must name, those of `changes` as a rule; `lost` what it costs beyond what
    follows from `changes`.
    """

    name: str
    changes: dict[str, bytes | None]
    found_by: str
    reported: frozenset[str]
    revived: str = ""
    """A purged snapshot whose root was put back: all its nodes are lost."""


@dataclass(frozen=True)
class Bed:
    aged: Aged
    cluster: str
    truth: Truth

    def get(self, key: str) -> bytes:
        return self.aged.store.objects[f"c/{self.cluster}/{key}"][0]

    def keys_of(self, folder: str) -> list[str]:
        """What matters of a folder: of packs, maps and manifests those that roots reach."""
        reachable: dict[str, Container[str]] = {
            "packs": self.truth.packs,
            "maps": self.truth.maps,
            "manifests": self.truth.manifests,
        }
        reached = reachable.get(folder)
        place = f"c/{self.cluster}/"
        found = (
            key.removeprefix(place) for key in self.aged.store.objects if key.startswith(f"{place}{folder}/")
        )
        return sorted(key for key in found if reached is None or key.split("/")[1] in reached)

    @property
    def other(self) -> str:
        return next(one for one in self.aged.clusters if one != self.cluster)

    def found_by(self, changes: dict[str, bytes | None]) -> str:
        """Structure shows at once, and in packs what lies in the index and behind it, less what no seal covers."""
        for key, after in changes.items():
            before = self.get(key)
            if not key.startswith("packs/") or after is None or len(after) != len(before):
                return CHECK
            index, end = self.truth.packs[key.split("/")[1]][0], len(before)
            if any(after[a:b] != before[a:b] for a, b in ((index, end - 32), (end - 24, end))):
                return CHECK
        return VERIFY

    def of(self, name: str, changes: dict[str, bytes | None]) -> Damage:
        return Damage(name, changes, self.found_by(changes), frozenset(changes))


Draw = Callable[[Bed, random.Random], Damage]
_WEIGHTS = {"packs": 14, "maps": 4, "manifests": 4, "roots": 4, "trash": 1, "keys": 1}


def _one(bed: Bed, draw: random.Random, *but: str) -> str:
    folders = [folder for folder in _WEIGHTS if folder not in but]
    folder = draw.choices(folders, [_WEIGHTS[folder] for folder in folders])[0]
    return draw.choice(bed.keys_of(folder))


def _area(bed: Bed, key: str, draw: random.Random) -> tuple[int, int]:
    """Of a pack any of its parts, however small, with equal chance."""
    size = len(bed.get(key))
    if not key.startswith("packs/"):
        return 0, size
    index, frames = bed.truth.packs[key.split("/")[1]]
    end = sum(frames[-1])
    areas = [
        (0, 96),
        (96, end),
        (end, index),
        (index, size - 120),
        (size - 120, size - 24),
        (size - 24, size),
    ]
    return draw.choice([area for area in areas if area[0] < area[1]])


def bit_flip(bed: Bed, draw: random.Random) -> Damage:
    key = _one(bed, draw)
    content = bytearray(bed.get(key))
    content[draw.randrange(*_area(bed, key, draw))] ^= 1 << draw.randrange(8)
    return bed.of("bit flip", {key: bytes(content)})


def truncation(bed: Bed, draw: random.Random) -> Damage:
    key = _one(bed, draw)
    content = bed.get(key)
    return bed.of(
        "truncation", {key: content[: draw.choice([0, draw.randrange(len(content)), len(content) - 1])]}
    )


def extension(bed: Bed, draw: random.Random) -> Damage:
    key = _one(bed, draw)
    return bed.of(
        "extension", {key: bed.get(key) + draw.choice([b"\0", b"x" * 24, draw.randbytes(100), bed.get(key)])}
    )


def missing(bed: Bed, draw: random.Random) -> Damage:
    """Not of trash marks and tombstones: a mark that is gone is an undelete, and a tombstone costs nothing."""
    key = _one(bed, draw, "trash")
    while key.startswith("roots/") and key.split("/")[1] not in bed.truth.roots:
        key = _one(bed, draw, "trash")
    newest = f"roots/{bed.aged.snapshots[bed.cluster][-1]}"
    return replace(bed.of("missing", {key: None}), found_by=NOTICE if key == newest else CHECK)


def swapped_objects(bed: Bed, draw: random.Random) -> Damage:
    folder = draw.choice(["packs", "maps", "manifests", "roots", "keys"])
    there = bed.keys_of(folder)
    if len(there) < 2:
        there = bed.keys_of("packs")
    one, other = draw.sample(there, 2)
    return bed.of("swapped", {one: bed.get(other), other: bed.get(one)})


def swapped_frames(bed: Bed, draw: random.Random) -> Damage:
    key = draw.choice([key for key in bed.keys_of("packs") if len(bed.truth.packs[key.split("/")[1]][1]) > 1])
    frames = bed.truth.packs[key.split("/")[1]][1]
    content = bed.get(key)
    first, second = sorted(draw.sample(range(len(frames)), 2))
    cuts = [content[at : at + length] for at, length in frames]
    cuts[first], cuts[second] = cuts[second], cuts[first]
    return bed.of("swapped frames", {key: content[:96] + b"".join(cuts) + content[sum(frames[-1]) :]})


def stale(bed: Bed, draw: random.Random) -> Damage:
    """The bytes of an older object of its kind under its key."""
    folder = draw.choice(["packs", "maps", "manifests", "roots"])
    by_time = sorted(bed.keys_of(folder), key=lambda key: bed.aged.store.objects[f"c/{bed.cluster}/{key}"][1])
    older, key = sorted(draw.sample(range(len(by_time)), 2))
    return bed.of("stale", {by_time[key]: bed.get(by_time[older])})


def revived(bed: Bed, draw: random.Random) -> Damage:
    """The root of a purged snapshot put back over its tombstone, after its objects were collected."""
    snapshot = bed.aged.purged[bed.cluster]
    key, root = f"roots/{snapshot}", bed.aged.purged_root[bed.cluster]
    keys = bed.aged.keys(bed.cluster)
    body = b"".join(open_bytes(f"c/{bed.cluster}/{key}", keys, root).plain())
    gone = frozenset(f"manifests/{node['manifest']}" for node in json.loads(body)["nodes"])
    return Damage("revived", {key: root}, CHECK, gone, revived=snapshot)


def forged(bed: Bed, draw: random.Random) -> Damage:
    """The right plain bytes at the right place, sealed by somebody who lacks the cluster's keys."""
    key = _one(bed, draw, "keys")
    mine = bed.aged.keys(bed.cluster)
    generation = mine.newest
    secret = draw.choice([bed.aged.keys(bed.other).generations[1], draw.randbytes(32)])
    return bed.of("forged", {key: _sealed_anew(bed, key, replace(mine, generations={generation: secret}))})


def forged_of_no_generation(bed: Bed, draw: random.Random) -> Damage:
    """Under keys of a generation that is not there, or no more: these are what the report misses."""
    key = _one(bed, draw, "keys", "packs")
    keys = replace(bed.aged.keys(bed.cluster), generations={7: draw.randbytes(32)})
    found = bed.of("forged, no generation", {key: _sealed_anew(bed, key, keys)})
    if key.startswith(("roots/", "trash/")):
        return replace(found, reported=frozenset({f"keys/00000007/{_kek_id(bed)}"}))
    return found


def forged_by_an_older_generation(bed: Bed, draw: random.Random) -> Damage:
    """By somebody who has older keys, or a program that was restored from a backup. Of roots it cannot be told."""
    key = _one(bed, draw, "keys", "roots", "trash")
    mine = bed.aged.keys(bed.cluster)
    keys = replace(mine, generations={1: mine.generations[1]})
    found_by = VERIFY if key.startswith("packs/") else CHECK
    return replace(bed.of("forged, older generation", {key: _sealed_anew(bed, key, keys)}), found_by=found_by)


def of_another_cluster(bed: Bed, draw: random.Random) -> Damage:
    folder = draw.choice(list(_WEIGHTS))
    theirs = replace(bed, cluster=bed.other)
    place = f"c/{bed.other}/{folder}/"
    content = draw.choice(
        [stored for key, (stored, _) in theirs.aged.store.objects.items() if key.startswith(place)]
    )
    return bed.of("of another cluster", {draw.choice(bed.keys_of(folder)): content})


def _kek_id(bed: Bed) -> str:
    return bed.keys_of("keys")[0].rpartition("/")[2]


def _sealed_anew(bed: Bed, key: str, keys: ClusterKeys) -> bytes:
    before = open_bytes(f"c/{bed.cluster}/{key}", bed.aged.keys(bed.cluster), bed.get(key))
    writer = ContainerWriter(keys, Type(before.type), uuid.UUID(str(before.id)))
    for frame in before.frames:
        size = frame.plain // frame.pages if frame.pages else 0
        writer.add(before.frame(frame.ordinal), Kind(frame.kind), size)
    return b"".join(writer.finish())


KINDS: tuple[tuple[Draw, int], ...] = (
    (bit_flip, 30),
    (truncation, 12),
    (extension, 8),
    (missing, 12),
    (swapped_objects, 8),
    (swapped_frames, 6),
    (stale, 8),
    (revived, 1),
    (forged, 6),
    (forged_of_no_generation, 2),
    (forged_by_an_older_generation, 4),
    (of_another_cluster, 6),
)


def draw_damage(bed: Bed, draw: random.Random) -> Damage:
    """A damage that changes something."""
    while True:
        kind = draw.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
        damage = kind(bed, draw)
        if any(after != bed.get(key) for key, after in damage.changes.items()):
            return damage
