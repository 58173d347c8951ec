import com.huaweicloud.sdk.core.auth.BasicCredentials;
import com.huaweicloud.sdk.core.exception.ServiceResponseException;
import com.huaweicloud.sdk.core.utils.JsonUtils;
import com.huaweicloud.sdk.dws.v2.DwsClient;
import com.huaweicloud.sdk.dws.v2.model.*;
import com.huaweicloud.sdk.dws.v2.region.DwsRegion;
import java.util.Map;

/** Create, list, detail, restore and delete by the Java SDK; each answer, as its typed model read it, is a line of JSON. */
public class Tour {
    private static void read(String operation, Object response) {
        System.out.println(JsonUtils.toJSON(Map.of("operation", operation, "read", response)));
    }

    public static void main(String[] args) {
        Map<String, String> given = System.getenv();
        BasicCredentials auth = new BasicCredentials()
                .withProjectId(given.get("PROJECT"))
                .withAk(given.get("CLOUD_SDK_AK"))
                .withSk(given.get("CLOUD_SDK_SK"));
        DwsClient client =
                DwsClient.newBuilder().withCredential(auth).withRegion(DwsRegion.valueOf("local-1")).build();
        String cluster = given.get("CLUSTER"), snapshot = given.get("SNAPSHOT"), old = given.get("OLD_SNAPSHOT");

        Snapshot wanted = new Snapshot().withName("by-java").withClusterId(cluster).withDescription("by Java: é");
        read("CreateSnapshot", client.createSnapshot(
                new CreateSnapshotRequest().withBody(new CreateSnapshotRequestBody().withSnapshot(wanted))));
        RestoreClusterRequestBody restore =
                new RestoreClusterRequestBody().withRestore(new Restore().withName("copy-by-java"));
        read("RestoreCluster", client.restoreCluster(
                new RestoreClusterRequest().withSnapshotId(snapshot).withBody(restore)));
        read("DeleteSnapshot", client.deleteSnapshot(new DeleteSnapshotRequest().withSnapshotId(old)));

        BackupStrategyRequest weekly = new BackupStrategyRequest()
                .withPolicyName("by-java")
                .withBackupStrategy("0 0 2 ? * 1")
                .withBackupType("full")
                .withBackupLevel("cluster");
        read("CreateSnapshotPolicy", client.createSnapshotPolicy(new CreateSnapshotPolicyRequest()
                .withClusterId(cluster)
                .withBody(new CreateSnapshotPolicyRequestBody().addBackupStrategiesItem(weekly))));

        read("ListSnapshots", client.listSnapshots(new ListSnapshotsRequest()));
        read("ListClusterSnapshots", client.listClusterSnapshots(
                new ListClusterSnapshotsRequest().withClusterId(cluster).withLimit(10).withOffset(0)));
        read("ListSnapshotDetails", client.listSnapshotDetails(
                new ListSnapshotDetailsRequest().withSnapshotId(snapshot)));
        read("ListClusters", client.listClusters(new ListClustersRequest()));
        read("ListClusterDetails", client.listClusterDetails(
                new ListClusterDetailsRequest().withClusterId(cluster)));
        // This version of the SDK takes min_cn, used and keep_day for text, later ones for numbers.
        read("ListNodeTypes", client.listNodeTypes(new ListNodeTypesRequest()));
        read("ListQuotas", client.listQuotas(new ListQuotasRequest()));
        read("ListSnapshotPolicy", client.listSnapshotPolicy(
                new ListSnapshotPolicyRequest().withClusterId(cluster)));
        try {
            client.listSnapshotDetails(new ListSnapshotDetailsRequest().withSnapshotId(old));
        } catch (ServiceResponseException refusal) {
            read("refusal", refusal.getHttpStatusCode() + " " + refusal.getErrorCode() + " " + refusal.getRequestId());
        }
    }
}
