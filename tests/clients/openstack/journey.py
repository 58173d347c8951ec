"""A cluster's life by openstacksdk and otcextensions: made, snapshotted, restored and deleted, by their own waiters.

The cloud is configured by the `OS_*` variables alone; the keys stand for a user's name and password.
"""

import json
import os

import openstack
from openstack import resource
from otcextensions import sdk

SECONDS = 300


def main() -> None:
    connection = openstack.connect(cloud="envvars", load_yaml_config=False)
    sdk.register_otc_extensions(connection)
    dws = connection.dws
    cluster = dws.create_cluster(
        name=os.environ["CLUSTER_NAME"],
        flavor="dws.d2.xlarge",
        num_nodes=1,
        router_id="vpc-a",
        network_id="subnet-a",
        security_group_id="group-a",
        port=8000,
        user_name="dbadmin",
        user_pwd=os.environ["ADMIN_PASSWORD"],
    )
    dws.wait_for_cluster(cluster, wait=SECONDS)
    snapshot = dws.create_snapshot(
        name=f"{os.environ['CLUSTER_NAME']}-snapshot", cluster_id=cluster.id, description=""
    )
    resource.wait_for_status(dws, snapshot, "AVAILABLE", ["UNAVAILABLE"], interval=2, wait=SECONDS)
    dws.wait_for_cluster(cluster, wait=SECONDS)
    found = dws.find_snapshot(snapshot.name, ignore_missing=False)
    got = dws.get_snapshot(snapshot.id)
    copy = dws.restore_snapshot(snapshot, name=f"{os.environ['CLUSTER_NAME']}-copy")
    dws.wait_for_cluster(copy, wait=SECONDS)
    restored = dws.get_cluster(copy.id)
    dws.delete_snapshot(snapshot.id)
    for made in (copy, cluster):
        dws.delete_cluster(made.id)
        dws.wait_for_delete(dws.get_cluster(made.id), interval=2, wait=SECONDS)
    print(
        json.dumps(
            {
                "cluster": cluster.id,
                "snapshot": snapshot.id,
                "listed": found.id,
                "status": got.status,
                "source": got.cluster_id,
                "size": got.size,
                "copy": restored.id,
                "copy_status": restored.status,
                "copy_name": restored.name,
                "clusters_left": [one.id for one in dws.clusters()],
                "flavors": [one.name for one in dws.flavors()],
                "snapshots_left": [one.id for one in dws.snapshots()],
            }
        )
    )


if __name__ == "__main__":
    main()
