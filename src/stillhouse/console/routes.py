"""The addresses of all pages and forms, each with the operations of the API that its caller must be permitted."""

import re
from collections.abc import Sequence
from typing import TypeVar

from stillhouse.console.pages import actions, activity, cluster, clusters, repository, snapshot, snapshots
from stillhouse.console.visit import ActionRoute, LiveRoute, PageRoute
from stillhouse.errors import ApiUnknown

_CLUSTERS, _CLUSTER = "/console/clusters", "/console/clusters/{cluster}"
_SNAPSHOTS, _SNAPSHOT = "/console/snapshots", "/console/snapshots/{snapshot}"

PAGES = (
    PageRoute(_CLUSTERS, ("ListClusterStates",), clusters.page),
    PageRoute(_CLUSTER, ("ShowCluster", "ShowClusterProgress"), cluster.page),
    PageRoute(_SNAPSHOTS, ("ListSnapshots",), snapshots.page),
    PageRoute(_SNAPSHOT, ("ShowSnapshot", "ShowSnapshotProgress"), snapshot.page),
    PageRoute(f"{_SNAPSHOT}/proof", ("ShowSnapshot", "ShowProof"), snapshot.report),
    PageRoute("/console/activity", (), activity.page),
    PageRoute("/console/repository", ("ListTrash", "ListDamage"), repository.page),
)

ACTIONS = (
    ActionRoute(f"{_CLUSTER}/take", "CreateSnapshot", actions.take_snapshot, cluster.page),
    ActionRoute(f"{_SNAPSHOT}/restore", "RestoreCluster", actions.restore, snapshot.page),
    ActionRoute(f"{_SNAPSHOT}/copy", "CopySnapshot", actions.copy, snapshot.page),
    ActionRoute(f"{_SNAPSHOT}/prove", "ProveSnapshot", actions.prove, snapshot.page),
    ActionRoute(f"{_SNAPSHOT}/cancel", "CancelSnapshot", actions.cancel, snapshot.page),
    ActionRoute(f"{_SNAPSHOT}/delete", "DeleteSnapshot", actions.delete, snapshot.page),
    ActionRoute(f"{_SNAPSHOT}/undelete", "UndeleteSnapshot", actions.undelete, snapshot.page),
)

LIVE = (
    LiveRoute(f"{_CLUSTERS}/live", ("ListClusterStates",), clusters.live, clusters.PARTS),
    LiveRoute(f"{_CLUSTER}/live", ("ShowCluster", "ShowClusterProgress"), cluster.live, cluster.PARTS),
    LiveRoute(f"{_SNAPSHOTS}/live", ("ListSnapshots",), snapshots.live, snapshots.PARTS),
    LiveRoute(f"{_SNAPSHOT}/live", ("ShowSnapshot", "ShowSnapshotProgress"), snapshot.live, snapshot.PARTS),
)

_Route = TypeVar("_Route", PageRoute, ActionRoute, LiveRoute)
Named = dict[str, str]


def find_page(path: str) -> tuple[PageRoute, Named]:
    return _found(PAGES, path)


def find_action(path: str) -> tuple[ActionRoute, Named]:
    return _found(ACTIONS, path)


def find_live(path: str) -> tuple[LiveRoute, Named]:
    return _found(LIVE, path)


def _found(routes: Sequence[_Route], path: str) -> tuple[_Route, Named]:
    for route in routes:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[0-9a-f-]{36})", route.path)
        if found := re.fullmatch(pattern, path):
            return route, found.groupdict()
    raise ApiUnknown("There is no such page.")
