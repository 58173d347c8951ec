"""An operation on a cluster, and the outcomes that it can end with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stillhouse.domain.cluster import Task
from stillhouse.domain.reports.failure import Failure

DONE = "done"
FAILED = "failed"
YIELDED = "yielded"
"""A collection's outcome: another operation wanted the cluster."""

EMPTIED = "emptied"
"""A collection's outcome: the repository holds no object of the cluster any more, not even its keys."""

LEFT = "left"
"""Key in the detail of a collection that has ended: the objects and bytes that it has left, a pair."""


@dataclass(frozen=True)
class Operation:
    """`subject_id` is the snapshot taken or restored, else the cluster itself. `detail` holds no secret.

    `outcome` is empty until it has ended; `failure` says why it failed.
    """

    id: str
    cluster_id: str
    kind: Task
    subject_id: str
    detail: dict[str, Any]
    progress: int
    started: datetime
    ended: datetime | None = None
    outcome: str = ""
    failure: Failure | None = None
