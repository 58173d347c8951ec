"""The S3 store against a real S3 server, directly and through a proxy that fails."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import InvalidInput, ObjectMissing, StoreUnavailable
from stillhouse.storage.open import RETRY_FOR, open_store
from stillhouse.storage.probe import probe
from stillhouse.storage.s3 import S3Access
from stillhouse.storage.store import ObjectStore
from support.stores.faulty_proxy import FaultyProxy, faulty_proxy
from support.stores.s3_server import S3Server, running, s3_server

pytestmark = pytest.mark.xdist_group("s3")

NO_PATIENCE = timedelta(seconds=0.2)


@pytest.fixture
def server() -> S3Server:
    return s3_server()


@pytest.fixture
def bucket(server: S3Server) -> str:
    name = f"real-{secrets.token_hex(6)}"
    server.make_bucket(name)
    return name


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def store(server: S3Server, bucket: str, proxy: FaultyProxy) -> ObjectStore:
    return open_at(proxy.endpoint, server, bucket)


def open_at(
    endpoint: str, server: S3Server, bucket: str, secret_key: str = "", patience: timedelta = NO_PATIENCE
) -> ObjectStore:
    access = S3Access(endpoint, server.region, server.access_key, secret_key or server.secret_key)
    return open_store(f"s3://{bucket}/prefix", s3=access, retry_for=patience)


def test_the_environment_says_how_to_reach_the_service(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    monkeypatch.setenv("AWS_REGION", server.region)
    store = open_store(f"s3://{bucket}")
    store.put("a/b", [b"x"])
    assert store.get("a/b") == b"x"


def test_an_argument_outranks_the_environment(
    server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        monkeypatch.setenv(variable, "https://elsewhere.invalid")
    store = open_at(server.endpoint, server, bucket)
    store.put("a", [b"x"])
    assert store.get("a") == b"x"


def test_stores_under_different_prefixes_do_not_see_each_other(server: S3Server, bucket: str) -> None:
    access = S3Access(server.endpoint, server.region, server.access_key, server.secret_key)
    one, other, outer = (open_store(f"s3://{bucket}/{prefix}", s3=access) for prefix in ("p/1", "p/2", "p"))
    one.put("key", [b"one"])
    assert other.size("key") is None
    assert [found.key for found in other.list("")] == []
    assert [found.key for found in outer.list("")] == ["1/key"]


def test_a_create_whose_reply_is_lost_is_won_by_the_retry(store: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.fail("reply lost", times=1)
    try:
        won = store.create("root", [b"ours"])
    except StoreUnavailable:
        won = store.create("root", [b"ours"])
    assert won
    assert proxy.faults == 1
    assert store.get("root") == b"ours"


def test_a_create_that_lost_is_not_taken_for_a_lost_reply(store: ObjectStore, proxy: FaultyProxy) -> None:
    assert store.create("root", [b"theirs"])
    proxy.fail("reply lost", times=1)
    try:
        won = store.create("root", [b"ours"])
    except StoreUnavailable:
        won = store.create("root", [b"ours"])
    assert not won
    assert store.get("root") == b"theirs"


def test_a_passing_fault_is_ridden_out(store: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.fail("503", times=2)
    store.put("a", [b"x" * 1000])
    proxy.fail("503", times=2)
    assert store.get("a") == b"x" * 1000


def test_a_service_that_stays_down_is_unavailable_and_never_empty(
    store: ObjectStore, proxy: FaultyProxy
) -> None:
    store.put("a", [b"x"])
    proxy.fail("503")
    for call in (
        lambda: store.put("b", [b"x"]),
        lambda: store.create("b", [b"x"]),
        lambda: store.get("a"),
        lambda: store.size("a"),
        lambda: list(store.list("")),
        lambda: store.delete("a"),
    ):
        with pytest.raises(StoreUnavailable):
            call()
    proxy.fail("none")
    assert store.get("a") == b"x"


def test_a_service_that_is_not_there_is_unavailable(server: S3Server, bucket: str) -> None:
    with faulty_proxy(server.port) as gone:
        endpoint = gone.endpoint
    store = open_at(endpoint, server, bucket)
    with pytest.raises(StoreUnavailable, match=re.escape(f"s3://{bucket}/prefix")):
        store.get("a")


def test_an_answer_that_is_cut_short_is_never_taken_for_the_object(
    store: ObjectStore, proxy: FaultyProxy
) -> None:
    content = secrets.token_bytes(300_000)
    store.put("a", [content])
    proxy.fail("cut short")
    with pytest.raises(StoreUnavailable):
        store.get("a")
    proxy.fail("cut short")
    with pytest.raises(StoreUnavailable):
        store.get_range("a", 1000, 200_000)
    proxy.fail("none")
    assert store.get("a") == content


def test_a_service_that_ignores_ranges_is_refused(store: ObjectStore, proxy: FaultyProxy) -> None:
    proxy.fail("range ignored")
    with pytest.raises((StoreUnavailable, InvalidInput)):
        probe(store)


def test_a_bucket_that_is_missing_is_not_an_object_that_is_missing(server: S3Server) -> None:
    store = open_at(server.endpoint, server, "no-such-bucket")
    for call in (
        lambda: store.get("a"),
        lambda: store.get_range("a", 0, 1),
        lambda: store.put("a", [b"x"]),
        lambda: store.create("a", [b"x"]),
        lambda: list(store.list("")),
        lambda: probe(store),
    ):
        with pytest.raises(StoreUnavailable, match="no such bucket"):
            call()


def test_a_wrong_secret_is_told_as_such_and_not_as_missing(server: S3Server, bucket: str) -> None:
    store = open_at(server.endpoint, server, bucket, secret_key="wrong")
    for call in (lambda: store.get("a"), lambda: store.size("a"), lambda: store.put("a", [b"x"])):
        with pytest.raises(StoreUnavailable, match="check the access key"):
            call()
    with pytest.raises(StoreUnavailable, match="SignatureDoesNotMatch"):
        list(store.list(""))


def test_the_secret_key_is_not_shown() -> None:
    assert "hush" not in repr(S3Access(access_key="ak", secret_key="hush"))


def test_a_server_that_checks_and_writes_in_two_steps_is_refused(server: S3Server) -> None:
    """Swift as it comes: its object server lets several concurrent creators of one object win."""
    with running(object_requests_at_once=1024) as racy:
        racy.make_bucket("bucket")
        with pytest.raises(InvalidInput, match=r"\d+ of (16|4) concurrent writers won"):
            probe(open_at(racy.endpoint, racy, "bucket", patience=RETRY_FOR))


def test_a_lost_object_is_missing(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing):
        store.get("never")


def test_every_call_outlasts_a_restart_of_the_server(server: S3Server, bucket: str) -> None:
    """As in an upgrade of the server: nobody listens, then somebody does, and knows what was stored before."""
    access = S3Access(server.endpoint, server.region, server.access_key, server.secret_key)
    store = open_store(f"s3://{bucket}", s3=access)
    store.put("a", [b"x"])
    with ThreadPoolExecutor(6) as pool:
        server.front.kill()
        try:
            calls: list[Future[Any]] = [
                pool.submit(store.put, "b", [b"y"]),
                pool.submit(store.create, "c", [b"z"]),
                pool.submit(store.get, "a"),
                pool.submit(store.get_range, "a", 0, 1),
                pool.submit(store.delete, "d"),
                pool.submit(lambda: [found.key for found in store.list("")]),
            ]
        finally:
            server.front.start()
        answers = [call.result(60) for call in calls]
    assert answers[1:5] == [True, b"x", b"x", None]
    assert "a" in answers[5]
    assert (store.get("b"), store.get("c")) == (b"y", b"z")


@pytest.mark.long
@pytest.mark.parametrize("lacking", ["keys", "server"])
def test_a_service_whose_store_cannot_be_reached_says_what_to_set(data_root: Path, lacking: str) -> None:
    """Amazon's machines have keys to ask for, at an address that elsewhere leads to nobody: that took 41 s."""
    nobody = "http://127.0.0.1:1"
    settings = {
        "AWS_ENDPOINT_URL": nobody,
        "AWS_METADATA_ENDPOINT": nobody,
        "STILLHOUSE_REPOSITORY": "s3://bucket/prefix",
    }
    if lacking == "server":
        settings |= {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stillhouse",
            "serve",
            "--data",
            str(data_root / "unreachable"),
            "--listen",
            "127.0.0.1:0",
        ],
        env=kept | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    told = done.stderr
    if lacking == "keys":
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in told
    else:
        assert f"check AWS_ENDPOINT_URL, and that a store answers at: {nobody}" in told
