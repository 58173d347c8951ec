"""Names of our replication slots. A name shows whether the slot belongs to an attempt or is meant to stay."""

import re

from stillhouse.domain.ids import is_uuid

# Installation (8 hex digits), the first 8 digits of the snapshot, the attempt's number. A slot of ours that is to
# outlive its session must not have this form.
_ATTEMPT = re.compile(r"stillhouse_(?P<installation>[0-9a-f]{8})_[0-9a-f]{8}_[0-9]+")


def attempt_slot(installation: str, snapshot_id: str, attempt: int) -> str:
    """Return the name of one attempt's slot, label and restore-point prefix. It is never used again."""
    assert is_uuid(snapshot_id)
    return f"stillhouse_{installation}_{snapshot_id[:8]}_{attempt}"


def is_attempt_slot(name: str, installation: str) -> bool:
    """Whether the slot belongs to an attempt of this installation. Other slots are not ours, or are meant to stay."""
    match = _ATTEMPT.fullmatch(name)
    return match is not None and match["installation"] == installation
