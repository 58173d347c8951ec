"""Which slots on a server are those of attempts, and which are not ours to remove."""

import pytest

from stillhouse.domain.ids import new_uuid
from stillhouse.domain.slots import attempt_slot, is_attempt_slot

OURS = "0a1b2c3d"


def test_an_attempts_slot_is_known_by_its_name() -> None:
    for attempt in (1, 12):
        assert is_attempt_slot(attempt_slot(OURS, new_uuid(), attempt), OURS)


@pytest.mark.parametrize(
    "name",
    [
        "stillhouse_deadbeef_0011aabb_1",
        f"stillhouse_{OURS}_stream_1",
        f"stillhouse_{OURS}_0011aabb",
        f"stillhouse_{OURS}_0011aabb_1_kept",
        f"stillhouse_{OURS}_0011aabbcc_1",
        f"my_stillhouse_{OURS}_0011aabb_1",
        "standby_1",
    ],
)
def test_other_installations_slots_and_those_that_are_meant_to_stay_are_none(name: str) -> None:
    assert not is_attempt_slot(name, OURS)
