"""Pages and forms of the console: their permissions, their headers, and how they show hostile texts."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from stillhouse.bootstrap.faces import application
from stillhouse.catalog import clusters, snapshots
from stillhouse.control.access.access_keys import create_access_key
from stillhouse.domain.access.permissions import READ_ONLY_ACCESS
from stillhouse.domain.reports.failure import Failure
from support.api.application import OTHER_PROJECT, PROJECT, Service, serving_service
from support.api.server import serving
from support.console.visitor import Visitor, text_of, visiting

HOSTILE = "</td><script>alert(1)</script><img src=x onerror='alert(2)'>\"'&"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving_service(tmp_path_factory.mktemp("console")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(service: Service) -> str:
    return service.add_cluster()


@pytest.fixture
def visitor(service: Service) -> Iterator[Visitor]:
    with visiting(service.endpoint) as one:
        key = service.client
        one.sign_in(key.access_key, key.secret_key)
        yield one


def pages(cluster: str, snapshot: str) -> list[str]:
    return [
        "/console/clusters",
        f"/console/clusters/{cluster}",
        "/console/snapshots",
        f"/console/snapshots/{snapshot}",
        f"/console/snapshots/{snapshot}/proof",
        "/console/activity?show=work",
        "/console/activity?show=events",
        "/console/activity?show=audit",
        "/console/repository",
    ]


def events(visitor: Visitor, path: str, wanted: int) -> dict[str, str]:
    """The first parts that a watched page is sent."""
    found: dict[str, str] = {}
    name = ""
    with visitor.http.stream("GET", path) as stream:
        assert stream.status_code == 200, stream.read()
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
                found[name] = ""
            elif line.startswith("data: ") and name:
                found[name] += line.removeprefix("data: ") + "\n"
            elif not line and len(found) >= wanted and found[name]:
                return found
    return found


def test_hostile_texts_are_shown_as_text(service: Service, cluster: str, visitor: Visitor) -> None:
    body = {"snapshot": {"name": "hostile-texts", "cluster_id": cluster}}
    snapshot = service.client.request("POST", "/v1.0/{p}/snapshots", body).json["snapshot"]["id"]
    with service.control.database.transaction() as transaction:
        now = service.control.clock.now()
        snapshots.mark_unavailable(transaction, snapshot, now, Failure("capture.failed", HOSTILE, HOSTILE))
        clusters.note_failure(transaction, cluster, now, code="internal", reason=HOSTILE)
    seen = 0
    for path in pages(cluster, snapshot):
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        assert "<script>alert" not in answer.text and "<img" not in answer.text, path
        seen += HOSTILE in text_of(answer.text).replace("\n", " ") or "&lt;script&gt;" in answer.text
    assert seen >= 2
    parts = events(visitor, f"/console/snapshots/{snapshot}/live", 2)
    assert "&lt;script&gt;" in parts["now"] and "<script>" not in parts["now"]


def test_every_answer_forbids_foreign_scripts_and_frames(
    service: Service, cluster: str, visitor: Visitor
) -> None:
    for path in [
        *pages(cluster, cluster)[:3],
        "/console/sign-in",
        "/console/nothing",
        "/console/static/console.css",
    ]:
        headers = visitor.get(path).headers
        policy = headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        )
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert len(headers["x-request-id"]) == 32
    page = visitor.get(f"/console/clusters/{cluster}").text
    assert "<script>" not in page and " style=" not in page and " onclick" not in page


def test_a_reader_sees_and_cannot_change(service: Service, cluster: str) -> None:
    snapshot = service.take_snapshot(cluster, "for-a-reader", 2**20)
    key = create_access_key(service.control, PROJECT, [READ_ONLY_ACCESS])
    with visiting(service.endpoint) as reader:
        reader.sign_in(key.access_key, key.secret_key)
        assert [reader.get(path).status_code for path in pages(cluster, snapshot)[:4]] == [200] * 4
        shown = reader.get(f"/console/snapshots/{snapshot}").text
        assert "Restore it" not in shown and "Delete it" not in shown
        assert "Take it" not in reader.get(f"/console/clusters/{cluster}").text
        for form, fields in [
            (f"/console/clusters/{cluster}/take", {"name": "not-allowed"}),
            (f"/console/snapshots/{snapshot}/delete", {"confirm": "for-a-reader"}),
            (f"/console/snapshots/{snapshot}/restore", {"name": "not-allowed", "port": "8000"}),
            (f"/console/snapshots/{snapshot}/prove", {}),
            (f"/console/snapshots/{snapshot}/cancel", {}),
        ]:
            assert reader.send(form, **fields).status_code == 403, form
    assert service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot}").status == 200


def test_policies_on_one_cluster_hold_here_too(service: Service, cluster: str) -> None:
    other = service.add_cluster()
    allowed = {
        "Version": "5.0",
        "Statement": [{"Effect": "Allow", "Action": ["dws:*:*"], "Resource": [f"dws:*:*:cluster:{cluster}"]}],
    }
    key = create_access_key(service.control, PROJECT, [allowed])
    with visiting(service.endpoint) as narrow:
        narrow.sign_in(key.access_key, key.secret_key)
        assert narrow.get(f"/console/clusters/{cluster}").status_code == 200
        assert narrow.get(f"/console/clusters/{other}").status_code == 403
        assert narrow.get("/console/clusters").status_code == 403
        assert narrow.get("/console/activity?show=audit").status_code == 403


def test_a_caller_of_another_project_sees_nothing_of_it(service: Service, cluster: str) -> None:
    snapshot = service.take_snapshot(cluster, "not-for-others", 2**20)
    key = create_access_key(service.control, OTHER_PROJECT)
    with visiting(service.endpoint) as other:
        other.sign_in(key.access_key, key.secret_key)
        statuses = {path: other.get(path) for path in pages(cluster, snapshot)}
        assert "not-for-others" not in " ".join(answer.text for answer in statuses.values())
        assert statuses[f"/console/clusters/{cluster}"].status_code == 404
        assert statuses[f"/console/snapshots/{snapshot}"].status_code == 404
        assert "not-for-others" not in repr(events(other, f"/console/snapshots/{snapshot}/live", 1))
        assert (
            other.send(f"/console/snapshots/{snapshot}/delete", confirm="not-for-others").status_code == 404
        )
    assert service.client.request("GET", f"/v1.0/{{p}}/snapshots/{snapshot}").status == 200


def test_a_snapshot_is_taken_deleted_and_brought_back(service: Service, visitor: Visitor) -> None:
    cluster = service.add_cluster()
    visitor.get(f"/console/clusters/{cluster}")
    refused = visitor.send(f"/console/clusters/{cluster}/take", name="no good name")
    assert refused.status_code == 400 and "snapshot name must be" in text_of(refused.text)
    assert 'value="no good name"' in refused.text
    place = visitor.send(f"/console/clusters/{cluster}/take", name="by-the-console").headers["location"]
    snapshot = place.rpartition("/")[2]
    assert "Cancel it" in visitor.get(place).text
    service.finish_snapshot(snapshot)
    service.store_snapshot(snapshot, cluster)

    assert "Restore it" in visitor.get(place).text
    wrong = visitor.send(f"{place}/delete", confirm="another")
    assert wrong.status_code == 400 and "nothing was deleted" in wrong.text
    assert visitor.send(f"{place}/delete", confirm="by-the-console").status_code == 303
    assert "can be brought back" in visitor.get(f"{place}?done=deleted").text
    assert "by-the-console" in visitor.get("/console/repository").text
    records = visitor.get("/console/activity?show=audit").text
    assert "DeleteSnapshot" in records and service.client.access_key in records


def test_pages_of_a_list_are_read_on_the_server(service: Service, visitor: Visitor) -> None:
    cluster = service.add_cluster()
    made = [service.take_snapshot(cluster, f"many-{n:03}", 2**20) for n in range(51)]
    first = visitor.get(f"/console/clusters/{cluster}").text
    second = visitor.get(f"/console/clusters/{cluster}?page=2").text
    assert made[-1] in first and made[0] not in first
    assert made[0] in second and made[-1] not in second.partition('id="snapshots"')[2]
    for wrong in ("0", "-1", "x", "1e3", "99999999"):
        assert visitor.get(f"/console/clusters/{cluster}?page={wrong}").status_code == 400


def test_a_watched_page_is_told_of_a_change_and_of_the_session_s_end(service: Service, cluster: str) -> None:
    with visiting(service.endpoint) as watcher:
        key = create_access_key(service.control, PROJECT)
        watcher.sign_in(key.access_key, key.secret_key)
        watcher.get("/console/clusters")
        seen: list[str] = []
        with watcher.http.stream("GET", f"/console/clusters/{cluster}/live") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    seen.append(line.removeprefix("event: "))
                if seen == ["now", "snapshots", "plots"]:
                    service.take_snapshot(cluster, "while-watched", 2**20)
                    seen.append("taken")
                if "taken" in seen and seen[-1] == "snapshots":
                    watcher_ends(service, watcher)
                    seen.append("signed out")
        assert seen[-1] == "over"


def watcher_ends(service: Service, watcher: Visitor) -> None:
    with visiting(service.endpoint) as same:
        same.http.cookies.update(watcher.http.cookies)
        same.get("/console/clusters")
        assert same.send("/console/sign-out").status_code == 303


def test_streams_are_bounded_and_hold_no_thread(service: Service, cluster: str, visitor: Visitor) -> None:
    with (
        visiting(service.endpoint) as other,
    ):
        streams = [visitor.http.stream("GET", "/console/clusters/live") for _ in range(6)]
        opened = [one.__enter__() for one in streams]
        assert {one.status_code for one in opened} == {200}
        assert visitor.get("/console/clusters/live").status_code == 503
        key = create_access_key(service.control, PROJECT)
        other.sign_in(key.access_key, key.secret_key)
        assert other.get("/console/clusters").status_code == 200
        for one in streams:
            one.__exit__(None, None, None)


def test_the_console_can_be_left_out(service: Service) -> None:
    without = service.control.settings.model_copy(update={"console": False})
    app = application(replace(service.control, settings=without), is_shutting_down=lambda: False)
    with serving(app) as endpoint, visiting(endpoint) as nobody:
        answer = nobody.get("/console/clusters")
    assert answer.status_code == 404 and "error_code" in json.loads(answer.text)
