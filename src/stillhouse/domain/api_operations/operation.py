"""The declaration of one operation of the API, and the permission that it needs."""

from dataclasses import dataclass
from typing import Literal

Standing = Literal["done", "partial", "deviating", "refused", "not yet"]

PROJECT = "/{project_id}"
CLUSTER = "/{project_id}/clusters/{cluster_id}"
SNAPSHOT = "/{project_id}/snapshots/{snapshot_id}"

# Enough for every operation but those that take lists of names.
SMALL_BODY = 64 * 2**10
# For 200 tables of a restore, or the 1000 of ValidateDbData. A table's name has two parts of at most 63 bytes, and a
# byte may be written as an escape of six.
NAMES_BODY = 2**20


@dataclass(frozen=True)
class Need:
    """The permission that an operation needs, by its names. Without names every authenticated caller has it, and if it
    is `open_to_all`, any caller.

    `cluster_in_body` says that the cluster is known only after the body is read. Then the route checks again.
    """

    names: tuple[str, ...] = ()
    open_to_all: bool = False
    cluster_in_body: bool = False


@dataclass(frozen=True)
class Operation:
    """`standing` holds once there is a route; `note` names the deviation, or the reason of a refusal. `largest_body` is
    the most bytes that a request may need. `checks_password` says that it takes a tenth of a second of a processor.
    """

    id: str
    method: str
    path: str
    need: Need
    standing: Standing = "done"
    note: str = ""
    largest_body: int = SMALL_BODY
    checks_password: bool = False


def need(*names: str) -> Need:
    return Need(names)
