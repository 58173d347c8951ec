"""The table of object kinds is whole: each kind has a rule for its end, its types, and its row in docs/format.md."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stillhouse.domain import collection
from stillhouse.domain.collection import Listed, Look, Rules
from stillhouse.domain.object_kinds import KINDS, Type, kind_at
from stillhouse.repository.format import layout

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SNAPSHOT = "5f0c1d1e-0000-4000-8000-000000000001"
NAMES = ("0" * 32, SNAPSHOT, f"00000001/{'0' * 16}")


def key_of(folder: str) -> str:
    return next(key for name in NAMES if kind_at(key := f"{folder}/{name}") is not None)


@pytest.mark.parametrize("folder", KINDS)
def test_a_collection_has_a_rule_for_every_kind(folder: str) -> None:
    one = Listed(key_of(folder), 1, NOW)
    look = Look(NOW, [one], {}, frozenset(), [], {})
    (item,) = collection.plan(look, Rules(timedelta(days=7), timedelta(days=7)), {})
    assert item.why and "not known" not in item.why


def test_every_type_of_container_lies_in_one_folder() -> None:
    assert Counter(one for kind in KINDS.values() for one in kind.types) == Counter(Type)


def test_the_format_describes_every_kind() -> None:
    text = (Path(__file__).parents[3] / "docs" / "format.md").read_text()
    assert set(re.findall(r"^\| `(\w+)/<", text, re.MULTILINE)) == KINDS.keys()


def test_layout_builds_only_keys_of_the_table() -> None:
    built = [
        layout.keys("c", 1, "0" * 16),
        *(make("c", "0" * 32) for make in (layout.pack, layout.map_, layout.manifest, layout.ending)),
        *(
            make("c", "0" * 32)
            for make in (layout.pin, layout.mark, layout.scrub, layout.findings, layout.reach)
        ),
        *(make("c", SNAPSHOT) for make in (layout.root, layout.trash)),
    ]
    kinds = [kind_at(key.removeprefix(layout.all_of("c"))) for key in built]
    assert {kind.folder for kind in kinds if kind is not None} == KINDS.keys() and None not in kinds


@pytest.mark.parametrize(
    "key", ["packs", "packs/", f"packs/{SNAPSHOT}", f"roots/{'0' * 32}", f"odd/{'0' * 32}", "keys/1"]
)
def test_another_form_of_a_key_is_of_no_kind(key: str) -> None:
    assert kind_at(key) is None
