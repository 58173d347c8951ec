"""The requests that an S3 service gets: signed by which keys, addressed how, with which headers, after which pause."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from pathlib import Path

import pytest

from stillhouse.clock import Clock
from stillhouse.errors import StoreRefused, StoreUnavailable
from stillhouse.storage import retry_after
from stillhouse.storage.open import open_store
from stillhouse.storage.s3 import S3Access
from stillhouse.storage.store import ObjectStore
from support.servers.certificates import Authority
from support.stores.metadata_service import CONTAINER, MetadataService, metadata_service
from support.stores.recorded_s3 import Answer, RecordedS3, error, recorded_s3, stored

NO_PATIENCE = timedelta(0)
SOON = timedelta(minutes=4)  # less than the time before its end at which a key is renewed


class TurnedClock:
    """Stands still but for the pauses."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return sum(self.pauses)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@pytest.fixture
def server() -> Iterator[RecordedS3]:
    with recorded_s3() as server:
        server.give(stored("x"))
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, server: RecordedS3, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return monkeypatch


def opened(server: RecordedS3, url: str = "s3://bucket/p", clock: Clock | None = None) -> ObjectStore:
    access = S3Access(server.endpoint, "us-east-1", "a", "s")
    patience = timedelta(seconds=120) if clock else NO_PATIENCE
    return open_store(url, s3=access, retry_for=patience, clock=clock)


def signers(server: RecordedS3) -> list[str]:
    return [each["authorization"].split("Credential=")[1].split("/")[0] for each in server.headers]


def read_until_signed_by(server: RecordedS3, store: ObjectStore, key: str) -> None:
    """obstore asks for no new keys within 0.1 s of the last time."""
    deadline = time.monotonic() + 30
    while signers(server)[-1] != key and time.monotonic() < deadline:
        time.sleep(0.02)
        store.get("a")
    assert signers(server)[-1] == key


def write_keys(file: Path, key: str, token: str = "") -> None:
    session = f"aws_session_token = {token}\n" if token else ""
    file.write_text(f"[backup]\naws_access_key_id = {key}\naws_secret_access_key = s\n{session}")


def test_a_file_of_keys_signs_and_is_read_again(
    server: RecordedS3, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    write_keys(file, "first", "token-1")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    environment.setenv("AWS_PROFILE", "backup")
    environment.setattr("stillhouse.storage.s3_credentials._GOOD_FOR", SOON)  # at once, not in a minute
    store = open_store("s3://bucket", retry_for=NO_PATIENCE)
    store.get("a")
    write_keys(file, "second")
    read_until_signed_by(server, store, "second")
    assert set(signers(server)) == {"first", "second"}
    assert server.headers[0]["x-amz-security-token"] == "token-1"
    assert "x-amz-security-token" not in server.headers[-1]


def test_a_file_of_keys_that_is_gone_is_waited_for_and_named(
    server: RecordedS3, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    write_keys(file, "first")
    environment.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    environment.setenv("AWS_PROFILE", "backup")
    environment.setattr("stillhouse.storage.s3_credentials._GOOD_FOR", SOON)
    store = open_store("s3://bucket", retry_for=NO_PATIENCE)
    file.unlink()
    with pytest.raises(StoreUnavailable, match=f"{file}.*No such file.*AWS_SHARED_CREDENTIALS_FILE") as told:
        store.get("a")
    assert told.value.retryable
    with pytest.raises(StoreRefused, match=f"{file}.*No such file"):
        open_store("s3://bucket", retry_for=NO_PATIENCE)


@pytest.fixture
def metadata() -> Iterator[MetadataService]:
    with metadata_service(SOON) as service:
        yield service


def test_the_keys_of_a_machine_s_role_are_renewed_before_they_end(
    server: RecordedS3, environment: pytest.MonkeyPatch, metadata: MetadataService
) -> None:
    environment.setenv("AWS_METADATA_ENDPOINT", metadata.endpoint)
    # Only Amazon's own endpoint is asked for with a role's keys. By that name the recorded server stands in.
    environment.setenv("AWS_ENDPOINT_URL", f"{server.endpoint}/s3.amazonaws.com")
    store = open_store("s3://bucket", retry_for=NO_PATIENCE)
    store.get("a")
    read_until_signed_by(server, store, "K2")
    assert set(signers(server)) == {"K1", "K2"}
    assert server.headers[-1]["x-amz-security-token"] == "token-2"
    metadata.is_away = True
    with pytest.raises(StoreUnavailable, match="this machine's role") as told:
        read_until_signed_by(server, store, "nobody")
    assert told.value.retryable
    metadata.is_away = False
    assert store.get("a") == b"x"


def test_the_keys_of_a_container_s_role_are_renewed_before_they_end(
    server: RecordedS3, environment: pytest.MonkeyPatch, metadata: MetadataService, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("of the container")
    environment.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{metadata.endpoint}{CONTAINER}")
    environment.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    store = open_store("s3://bucket", retry_for=NO_PATIENCE)
    store.get("a")
    read_until_signed_by(server, store, "K2")
    assert set(metadata.tokens) == {"of the container"}


@pytest.mark.parametrize(
    ("url", "endpoint", "asked"),
    [
        ("s3://bucket/p", "http://store.example", "http://store.example/bucket/p/a"),
        ("s3://bucket/p?addressing=virtual", "http://store.example", "http://bucket.store.example/p/a"),
        (
            "s3://bucket/p?addressing=virtual",
            "http://bucket.store.example",
            "http://bucket.store.example/p/a",
        ),
    ],
)
def test_the_bucket_is_in_the_path_or_in_the_host_s_name(
    server: RecordedS3, environment: pytest.MonkeyPatch, url: str, endpoint: str, asked: str
) -> None:
    """The names lead nowhere: the recorded server is asked as the proxy on the way to them."""
    environment.setenv("HTTP_PROXY", server.endpoint)
    environment.setenv("NO_PROXY", "")
    open_store(url, s3=S3Access(endpoint, "us-east-1", "a", "s"), retry_for=NO_PATIENCE).get("a")
    assert server.asked == [f"GET {asked}"]


def test_storage_class_and_lock_go_with_each_upload_signed(server: RecordedS3) -> None:
    url = "s3://bucket/p?storage_class=STANDARD_IA&object_lock=GOVERNANCE&lock_days=30"
    store = opened(server, url)
    store.put("a", [b"x" * (20 << 20)])  # in one request: a lock is not for parts
    store.create("b", [b"x"])
    store.get("a")
    assert server.asked == ["PUT /bucket/p/a", "PUT /bucket/p/b", "GET /bucket/p/a"]
    for headers in server.headers[:2]:
        assert headers["x-amz-storage-class"] == "STANDARD_IA"
        assert headers["x-amz-object-lock-mode"] == "GOVERNANCE"
        until = datetime.fromisoformat(headers["x-amz-object-lock-retain-until-date"])
        assert timedelta(days=30) < until - datetime.now(UTC) <= timedelta(days=30, hours=1)
        assert "x-amz-checksum-sha256" in headers
        signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        assert {"x-amz-storage-class", "x-amz-object-lock-mode", "x-amz-checksum-sha256"} <= set(signed)
    assert not any(name.startswith("x-amz-object-lock") for name in server.headers[2])


def test_without_them_no_such_header_is_sent(server: RecordedS3) -> None:
    opened(server).put("a", [b"x"])
    assert not {name for name in server.headers[0] if "lock" in name or "storage" in name}


@pytest.mark.parametrize(
    "busy", [error(503, "SlowDown", Retry_After="40"), Answer(429, "", {"Retry-After": "40"})]
)
def test_a_busy_service_is_left_alone_for_as_long_as_it_asks(server: RecordedS3, busy: Answer) -> None:
    clock = TurnedClock()
    server.give(busy, busy, busy, busy, stored("x"))
    assert opened(server, clock=clock).get("a") == b"x"
    assert len(clock.pauses) == 2 and all(40 <= pause <= 41 for pause in clock.pauses)
    assert [each.split("?")[0] for each in server.asked] == [
        *["GET /bucket/p/a", "HEAD /bucket/p/probe/pace"] * 2,
        "GET /bucket/p/a",
    ]


def test_a_service_that_asks_for_more_than_the_budget_is_asked_once_more_at_its_end(
    server: RecordedS3,
) -> None:
    clock = TurnedClock()
    server.give(error(503, "SlowDown", Retry_After="1000"))
    with pytest.raises(StoreUnavailable, match="SlowDown") as told:
        opened(server, clock=clock).get("a")
    assert clock.pauses == [120] and told.value.retry_after == 1000


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("", 0),
        ("soon", 0),
        ("-1", 0),
        ("99999999", 3600),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
    ],
)
def test_the_time_is_a_number_or_a_date_by_the_service_s_own_clock(value: str, seconds: int) -> None:
    headers = Message()
    headers["Date"] = "Thu, 01 Jan 2026 00:00:00 GMT"
    headers["Retry-After"] = value
    assert retry_after.seconds(headers) == seconds


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (error(400, "ExpiredToken"), "AWS_SESSION_TOKEN"),
        (error(403, "RequestTimeTooSkewed"), "clock"),
        (error(400, "InvalidStorageClass"), "storage_class"),
        (error(403, "InvalidObjectState"), "storage_class"),
        (error(400, "InvalidBucketObjectLockConfiguration"), "object_lock"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.body.partition("<Code>")[2].partition("<")[0],
)
def test_a_refusal_names_what_to_set(server: RecordedS3, answer: Answer, said: str) -> None:
    server.give(answer)
    with pytest.raises(StoreRefused, match=said):
        opened(server).put("a", [b"x"])


def test_an_authority_of_one_s_own_is_named_by_a_variable(
    server: RecordedS3, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    server.serve_tls(*authority.issue())
    with pytest.raises(StoreRefused, match=r"UnknownIssuer.*AWS_CA_BUNDLE"):
        opened(server).get("a")
    environment.setenv("AWS_CA_BUNDLE", str(authority.file))
    clock = TurnedClock()
    server.give(
        error(503, "SlowDown", Retry_After="40"), error(503, "SlowDown", Retry_After="40"), stored("x")
    )
    assert opened(server, clock=clock).get("a") == b"x"
    assert clock.pauses[0] >= 40
