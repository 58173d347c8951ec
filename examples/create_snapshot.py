"""Create a snapshot with the official Huawei Cloud SDK, exactly as one would against the cloud.

Credentials come from CLOUD_SDK_AK and CLOUD_SDK_SK. The SDK finds a Stillhouse service through its own region
override, so nothing here knows of it:

    export HUAWEICLOUD_SDK_REGION_DWS_LOCAL_1=http://127.0.0.1:8080
    python examples/create_snapshot.py --project PROJECT_ID --cluster CLUSTER_ID --name before-upgrade
"""

import argparse
import os
import sys

from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException
from huaweicloudsdkdws.v2 import CreateSnapshotRequest, CreateSnapshotRequestBody, DwsClient, Snapshot
from huaweicloudsdkdws.v2.region.dws_region import DwsRegion


def main() -> int:
    parser = argparse.ArgumentParser(description="Create a snapshot of a DWS cluster.")
    parser.add_argument("--project", required=True, help="project id, 32 hexadecimal digits")
    parser.add_argument("--cluster", required=True, help="cluster id, a UUID")
    parser.add_argument("--name", required=True)
    parser.add_argument("--description", default="")
    parser.add_argument("--region", default="local-1")
    arguments = parser.parse_args()

    credentials = BasicCredentials(os.environ["CLOUD_SDK_AK"], os.environ["CLOUD_SDK_SK"], arguments.project)
    client = (
        DwsClient.new_builder()
        .with_credentials(credentials)
        .with_region(DwsRegion.value_of(arguments.region))
        .build()
    )
    snapshot = Snapshot(name=arguments.name, cluster_id=arguments.cluster, description=arguments.description)
    request = CreateSnapshotRequest(body=CreateSnapshotRequestBody(snapshot=snapshot))
    try:
        print(client.create_snapshot(request))
    except ServiceResponseException as error:
        print(error.status_code, error.request_id, error.error_code, error.error_msg, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
