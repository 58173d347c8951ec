"""The commands that ask a running service, put together."""

from stillhouse.cli.service import cluster_work, project
from stillhouse.cli.service.cluster import cluster
from stillhouse.cli.service.snapshot import snapshot
from stillhouse.cli.service.snapshot_policy import policy

__all__ = ["cluster", "policy", "snapshot"]

for _one in (cluster_work.stop, cluster_work.start, cluster_work.collect, cluster_work.proofs):
    cluster.command(_one)
snapshot.command(project.copy)
