// Create, list, detail, restore and delete by the Go SDK; each answer, as its typed model read it, is a line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	dws "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2/model"
	region "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2/region"
)

func read[T any](operation string, response T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, operation, err)
		os.Exit(1)
	}
	line, err := json.Marshal(map[string]any{"operation": operation, "read": response})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
	return response
}

func main() {
	auth := basic.NewCredentialsBuilder().WithAk(os.Getenv("CLOUD_SDK_AK")).WithSk(os.Getenv("CLOUD_SDK_SK")).
		WithProjectId(os.Getenv("PROJECT")).Build()
	client := dws.NewDwsClient(
		dws.DwsClientBuilder().WithRegion(region.ValueOf("local-1")).WithCredential(auth).Build())
	cluster, snapshot, old := os.Getenv("CLUSTER"), os.Getenv("SNAPSHOT"), os.Getenv("OLD_SNAPSHOT")

	description := "by Go: é"
	created, err := client.CreateSnapshot(&model.CreateSnapshotRequest{Body: &model.CreateSnapshotRequestBody{
		Snapshot: &model.Snapshot{Name: "by-go", ClusterId: cluster, Description: &description}}})
	read("CreateSnapshot", created, err)
	restored, err := client.RestoreCluster(&model.RestoreClusterRequest{SnapshotId: snapshot,
		Body: &model.RestoreClusterRequestBody{Restore: &model.Restore{Name: "copy-by-go"}}})
	read("RestoreCluster", restored, err)
	deleted, err := client.DeleteSnapshot(&model.DeleteSnapshotRequest{SnapshotId: old})
	read("DeleteSnapshot", deleted, err)

	name, level, when, kind := "by-go", "cluster", "0 0 2 ? * 1", "full"
	policies, err := client.CreateSnapshotPolicy(&model.CreateSnapshotPolicyRequest{ClusterId: cluster,
		Body: &model.CreateSnapshotPolicyRequestBody{BackupStrategies: &[]model.BackupStrategyRequest{
			{PolicyName: &name, BackupStrategy: &when, BackupType: &kind, BackupLevel: &level}}}})
	read("CreateSnapshotPolicy", policies, err)
	listed, err := client.ListSnapshotPolicy(&model.ListSnapshotPolicyRequest{ClusterId: cluster})
	read("ListSnapshotPolicy", listed, err)

	limit, offset := int32(10), int32(0)
	snapshots, err := client.ListSnapshots(&model.ListSnapshotsRequest{})
	read("ListSnapshots", snapshots, err)
	ofCluster, err := client.ListClusterSnapshots(
		&model.ListClusterSnapshotsRequest{ClusterId: cluster, Limit: &limit, Offset: &offset})
	read("ListClusterSnapshots", ofCluster, err)
	detail, err := client.ListSnapshotDetails(&model.ListSnapshotDetailsRequest{SnapshotId: snapshot})
	read("ListSnapshotDetails", detail, err)
	clusters, err := client.ListClusters(&model.ListClustersRequest{})
	read("ListClusters", clusters, err)
	shown, err := client.ListClusterDetails(&model.ListClusterDetailsRequest{ClusterId: cluster})
	read("ListClusterDetails", shown, err)
	types, err := client.ListNodeTypes(&model.ListNodeTypesRequest{})
	read("ListNodeTypes", types, err)

	_, err = client.ListSnapshotDetails(&model.ListSnapshotDetailsRequest{SnapshotId: old})
	line, _ := json.Marshal(map[string]any{"operation": "refusal", "read": fmt.Sprint(err)})
	fmt.Println(string(line))
}
