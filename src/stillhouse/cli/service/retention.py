"""Chooses the snapshots that a bulk command acts on, from the service's answer about them. Pure."""

from collections.abc import Sequence

from stillhouse.cli.service.client import Answer


def obstacle_to_deletion(one: Answer) -> str:
    """Return why the service would refuse to delete the snapshot, or ""."""
    if one["type"] != "MANUAL":
        return "it is an automated one: it goes when its days are over, or with its cluster"
    if one["state"] == "CREATING":
        return f"it is being taken: `stillhouse snapshot cancel {one['name']}` stops it"
    return f"it is {one['use']}" if one["use"] else ""


def obstacle_to_return(one: Answer) -> str:
    return "" if one["can_be_undeleted"] else "it failed: there is nothing to bring back"


def beyond_last(newest_first: Sequence[Answer], number: int) -> list[Answer]:
    """Return the manual snapshots that are older than the newest `number` that can be restored.

    Without so many that can be restored, nothing goes. One that is being taken or in use stays, and so does a damaged
    one: its rest may be the only copy.
    """
    manual = [one for one in newest_first if one["type"] == "MANUAL"]
    usable = [position for position, one in enumerate(manual) if one["state"] == "AVAILABLE"]
    if len(usable) < number:
        return []
    older = manual[usable[number - 1] + 1 :]
    return [one for one in older if one["state"] != "DAMAGED" and not obstacle_to_deletion(one)]
