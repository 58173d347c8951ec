"""The documented sample of CreateSnapshot: only the region and the project are to be filled in."""

import os

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions import exceptions
from huaweicloudsdkdws.v2 import CreateSnapshotRequest, CreateSnapshotRequestBody, DwsClient, Snapshot
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion

if __name__ == "__main__":
    ak = os.environ["CLOUD_SDK_AK"]
    sk = os.environ["CLOUD_SDK_SK"]
    credentials = BasicCredentials(ak, sk, "{project_id}")
    client = (
        DwsClient.new_builder()
        .with_credentials(credentials)
        .with_region(DwsRegion.value_of("<YOUR REGION>"))
        .build()
    )
    try:
        request = CreateSnapshotRequest()
        request.body = CreateSnapshotRequestBody(
            snapshot=Snapshot(
                name="snapshot-3",
                cluster_id="44b277eb-39be-4921-be31-3d61b43651d7",
                description="Snapshot-3 description",
            )
        )
        print(client.create_snapshot(request))
    except exceptions.ClientRequestException as e:
        print(e.status_code, e.request_id, e.error_code, e.error_msg)
