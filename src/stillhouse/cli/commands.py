"""The groups of commands that come from several modules, put together."""

from stillhouse.cli.host import registration
from stillhouse.cli.service import cluster_work, project, removal
from stillhouse.cli.service.cluster import cluster
from stillhouse.cli.service.snapshot import snapshot
from stillhouse.cli.service.snapshot_policy import policy

__all__ = ["cluster", "policy", "snapshot"]

for _one in (
    cluster_work.restart,
    cluster_work.stop,
    cluster_work.start,
    cluster_work.collect,
    cluster_work.proofs,
):
    cluster.command(_one)
for _registered in (
    registration.add,
    registration.check,
    registration.connect,
    registration.grants,
    registration.propose,
    registration.remove,
):
    cluster.command(_registered)
for _act in (
    project.copy,
    project.diff,
    removal.delete,
    removal.keep_last,
    removal.undelete,
    removal.trash,
):
    snapshot.command(_act)
