"""Names of our replication slots: they tell the slot of a dead attempt from one that is meant to stay."""

import re

from stillhouse.domain.ids import is_uuid

# Installation (8 hex digits), the snapshot's first 8, the attempt's number. No other slot of ours may look like that:
# one that is to outlive its session has another word in the snapshot's place.
_ATTEMPT = re.compile(r"stillhouse_(?P<installation>[0-9a-f]{8})_[0-9a-f]{8}_[0-9]+")


def attempt_slot(installation: str, snapshot_id: str, attempt: int) -> str:
    """The slot, label and restore-point prefix of one attempt: used once in all time."""
    assert is_uuid(snapshot_id)
    return f"stillhouse_{installation}_{snapshot_id[:8]}_{attempt}"


def is_attempt_slot(name: str, installation: str) -> bool:
    """Whether the slot belongs to an attempt of this installation. All others are somebody else's, or meant to stay."""
    match = _ATTEMPT.fullmatch(name)
    return match is not None and match["installation"] == installation
