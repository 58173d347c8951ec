import com.huaweicloud.sdk.core.auth.BasicCredentials;
import com.huaweicloud.sdk.core.auth.ICredential;
import com.huaweicloud.sdk.core.exception.ConnectionException;
import com.huaweicloud.sdk.core.exception.RequestTimeoutException;
import com.huaweicloud.sdk.core.exception.ServiceResponseException;
import com.huaweicloud.sdk.dws.v2.DwsClient;
import com.huaweicloud.sdk.dws.v2.model.CreateSnapshotRequest;
import com.huaweicloud.sdk.dws.v2.model.CreateSnapshotRequestBody;
import com.huaweicloud.sdk.dws.v2.model.CreateSnapshotResponse;
import com.huaweicloud.sdk.dws.v2.model.Snapshot;
import com.huaweicloud.sdk.dws.v2.region.DwsRegion;

/** The documented sample of CreateSnapshot: only the region and the project are to be filled in. */
public class CreateSnapshot {
    public static void main(String[] args) {
        String ak = System.getenv("CLOUD_SDK_AK");
        String sk = System.getenv("CLOUD_SDK_SK");
        String projectId = "{project_id}";

        ICredential auth = new BasicCredentials().withProjectId(projectId).withAk(ak).withSk(sk);
        DwsClient client =
                DwsClient.newBuilder().withCredential(auth).withRegion(DwsRegion.valueOf("<YOUR REGION>")).build();

        CreateSnapshotRequest request = new CreateSnapshotRequest();
        CreateSnapshotRequestBody body = new CreateSnapshotRequestBody();
        Snapshot snapshotbody = new Snapshot();
        snapshotbody
                .withName("snapshot-3")
                .withClusterId("44b277eb-39be-4921-be31-3d61b43651d7")
                .withDescription("Snapshot-3 description");
        body.withSnapshot(snapshotbody);
        request.withBody(body);
        try {
            CreateSnapshotResponse response = client.createSnapshot(request);
            System.out.println(response.toString());
        } catch (ConnectionException | RequestTimeoutException e) {
            e.printStackTrace();
        } catch (ServiceResponseException e) {
            e.printStackTrace();
            System.out.println(e.getHttpStatusCode());
            System.out.println(e.getRequestId());
            System.out.println(e.getErrorCode());
            System.out.println(e.getErrorMsg());
        }
    }
}
