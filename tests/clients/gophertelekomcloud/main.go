// A cluster's life by gophertelekomcloud: made, snapshotted, restored and deleted, by its own waiters.
//
// Only the address, the keys and the project's id are given.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	golangsdk "github.com/opentelekomcloud/gophertelekomcloud"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack/dws/v1/cluster"
	"github.com/opentelekomcloud/gophertelekomcloud/openstack/dws/v1/snapshot"
)

const seconds = 300

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	provider := must(openstack.AuthenticatedClient(golangsdk.AKSKAuthOptions{
		IdentityEndpoint: os.Getenv("ADDRESS"),
		AccessKey:        os.Getenv("ACCESS_KEY"),
		SecretKey:        os.Getenv("SECRET_KEY"),
		ProjectName:      os.Getenv("REGION"),
	}))
	client := must(openstack.NewDWSV1(provider, golangsdk.EndpointOpts{Region: os.Getenv("REGION")}))
	name := os.Getenv("CLUSTER_NAME")

	made := must(cluster.CreateCluster(client, cluster.CreateClusterOpts{
		Name: name, NodeType: "dws.d2.xlarge", NumberOfNode: 1,
		VpcId: "vpc-a", SubnetId: "subnet-a", SecurityGroupId: "group-a",
		UserName: "dbadmin", UserPwd: os.Getenv("ADMIN_PASSWORD"),
	}))
	check(cluster.WaitForCreate(client, made, seconds))

	taken := must(snapshot.CreateSnapshot(client, snapshot.Snapshot{Name: name + "-snapshot", ClusterId: made}))
	check(snapshot.WaitForSnapshot(client, made, taken, seconds))
	listed := must(snapshot.ListSnapshot(client))
	got := must(snapshot.ListSnapshotDetails(client, taken))

	copied := must(snapshot.RestoreCluster(client, snapshot.RestoreClusterOpts{SnapshotId: taken, Name: name + "-copy"}))
	check(snapshot.WaitForRestore(client, copied, seconds))
	restored := must(cluster.ListClusterDetails(client, copied))

	check(snapshot.DeleteSnapshot(client, taken))
	keep := 0
	for _, id := range []string{copied, made} {
		check(cluster.DeleteCluster(client, cluster.DeleteClusterOpts{ClusterId: id, KeepLastManualSnapshot: &keep}))
		check(golangsdk.WaitFor(seconds, func() (bool, error) {
			_, err := cluster.ListClusterDetails(client, id)
			if _, gone := err.(golangsdk.ErrDefault404); gone {
				return true, nil
			}
			return false, err
		}))
	}
	left := must(cluster.ListClusters(client))
	snapshotsLeft := must(snapshot.ListSnapshot(client))
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cluster": made, "snapshot": taken, "listed": listed.Snapshots, "got": got, "restored": restored,
		"clusters_left": len(left.Clusters), "snapshots_left": snapshotsLeft.Snapshots,
	}))
}
