// The documented sample of CreateSnapshot: only the region and the project are to be filled in.
package main

import (
	"fmt"
	"os"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/basic"
	dws "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2/model"
	region "github.com/huaweicloud/huaweicloud-sdk-go-v3/services/dws/v2/region"
)

func main() {
	ak := os.Getenv("CLOUD_SDK_AK")
	sk := os.Getenv("CLOUD_SDK_SK")
	projectId := "{project_id}"

	auth := basic.NewCredentialsBuilder().WithAk(ak).WithSk(sk).WithProjectId(projectId).Build()
	client := dws.NewDwsClient(
		dws.DwsClientBuilder().WithRegion(region.ValueOf("<YOUR REGION>")).WithCredential(auth).Build())

	request := &model.CreateSnapshotRequest{}
	description := "Snapshot-3 description"
	request.Body = &model.CreateSnapshotRequestBody{
		Snapshot: &model.Snapshot{
			Name:        "snapshot-3",
			ClusterId:   "44b277eb-39be-4921-be31-3d61b43651d7",
			Description: &description,
		},
	}
	response, err := client.CreateSnapshot(request)
	if err == nil {
		fmt.Printf("%+v\n", response)
	} else {
		fmt.Println(err)
	}
}
