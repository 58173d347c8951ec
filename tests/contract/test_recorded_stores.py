"""What MinIO, versitygw and Amazon answer where they differ, as their sources and documents have it.

MinIO's codes, statuses and `Retry-After` are those of its `cmd/api-errors.go` and `cmd/api-response.go`. That older
ones answer 304 to a conditional create is its issue 19442; 409 is in Amazon's guide to conditional writes.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from stillhouse.errors import StoreRefused, StoreUnavailable
from stillhouse.storage.open import open_store
from stillhouse.storage.s3 import S3Access
from stillhouse.storage.store import ObjectStore
from support.stores.recorded_s3 import Answer, RecordedS3, error, recorded_s3, stored

SHORT = timedelta(seconds=1)
CALLS: dict[str, Callable[[ObjectStore], object]] = {
    "put": lambda store: store.put("a", [b"x"]),
    "create": lambda store: store.create("a", [b"x"]),
    "get": lambda store: store.get("a"),
    "list": lambda store: list(store.list("a")),
}


@pytest.fixture(scope="module")
def server() -> Iterator[RecordedS3]:
    with recorded_s3() as server:
        yield server


@pytest.fixture
def store(server: RecordedS3) -> ObjectStore:
    return open_store("s3://bucket", s3=S3Access(server.endpoint, "us-east-1", "a", "s"), retry_for=SHORT)


@pytest.mark.parametrize(
    "taken",
    [
        error(412, "PreconditionFailed"),  # MinIO and versitygw
        Answer(304),  # MinIO before 2024
        error(409, "ConditionalRequestConflict"),  # Amazon, while another upload goes on
    ],
    ids=lambda answer: str(answer.status),
)
def test_every_way_to_say_that_an_object_exists_is_settled_by_reading_it(
    server: RecordedS3, store: ObjectStore, taken: Answer
) -> None:
    server.give(taken, stored("theirs"))
    assert not store.create("a", [b"ours"])
    server.give(taken, stored("ours"))
    assert store.create("a", [b"ours"])


def test_a_create_whose_rival_comes_to_nothing_is_tried_again(server: RecordedS3, store: ObjectStore) -> None:
    """Ten times, which is more often than the reading back alone tries: time decides here as well."""
    conflict, nothing = error(409, "ConditionalRequestConflict"), error(404, "NoSuchKey")
    server.give(*[conflict, nothing] * 6, stored())
    assert store.create("a", [b"ours"])


@pytest.mark.parametrize(
    "passing",
    [
        error(503, "SlowDown", Retry_After="60"),
        error(503, "SlowDownWrite", Retry_After="60"),
        error(503, "XMinioServerNotInitialized", Retry_After="60"),
        error(503, "XMinioWriteQuorum"),
        error(507, "XMinioStorageFull"),
        error(500, "InternalError"),
        error(429, "TooManyRequests"),
        error(400, "RequestTimeout"),
        error(400, "IncompleteBody"),
        error(408, "RequestTimeout"),
    ],
    ids=lambda answer: answer.body.partition("<Code>")[2].partition("<")[0] + str(answer.status),
)
def test_what_passes_is_waited_for(server: RecordedS3, store: ObjectStore, passing: Answer) -> None:
    server.give(passing, stored())
    assert store.create("a", [b"x"])


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("final", "names"),
    [
        (error(403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        (error(403, "SignatureDoesNotMatch"), "AWS_SECRET_ACCESS_KEY"),
        (error(403, "AccessDenied"), "rights"),
        (error(401, "Unauthorized"), "AWS_ACCESS_KEY_ID"),
        (error(404, "NoSuchBucket"), "create the bucket"),
        (error(400, "AuthorizationHeaderMalformed"), "AWS_REGION"),
        (error(301, "PermanentRedirect"), "AWS_REGION"),
        (error(501, "NotImplemented"), "AWS_ENDPOINT_URL"),
        (error(400, "XMinioInvalidObjectName"), "XMinioInvalidObjectName"),
    ],
    ids=lambda one: one if isinstance(one, str) else str(one.status),
)
def test_what_only_a_person_can_mend_is_told_at_once_and_names_what_to_set(
    server: RecordedS3, store: ObjectStore, call: str, final: Answer, names: str
) -> None:
    server.give(final)
    with pytest.raises(StoreRefused, match=names) as told:
        CALLS[call](store)
    assert not told.value.retryable
    assert len(server.asked) <= 4  # obstore itself repeats what it takes for a hiccup


def test_what_does_not_pass_in_time_names_where_it_was_looked_for(
    server: RecordedS3, store: ObjectStore
) -> None:
    server.give(error(503, "SlowDown", Retry_After="1"))
    with pytest.raises(StoreUnavailable, match=f"SlowDown.*AWS_ENDPOINT_URL.*{server.endpoint}") as told:
        store.put("a", [b"x"])
    assert told.value.retryable


def test_a_listing_in_pages_of_minio_is_read_to_its_end(server: RecordedS3, store: ObjectStore) -> None:
    """Folder markers, names that are no keys of ours and MinIO's own continuation tokens are in it."""
    server.give(
        _page(["probe/", "probe/a"], then="probe/a[minio_cache:v2,return:]"),
        error(503, "SlowDown", Retry_After="1"),
        _page(["probe/b", "probe/.hidden", "probe/Upper"], then=""),
    )
    found = list(store.list("probe"))
    assert [one.key for one in found] == ["probe/a", "probe/b"]
    assert "continuation-token=probe%2Fa%5Bminio_cache%3Av2%2Creturn%3A%5D" in server.asked[-1]


def _page(keys: list[str], then: str) -> Answer:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.123Z</LastModified><ETag>&#34;e&#34;</ETag>"
        f"<Size>{len(key)}</Size><Owner><ID>02d6</ID><DisplayName>minio</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{then}</NextContinuationToken>" if then else ""
    head = "<Name>bucket</Name><Prefix>probe/</Prefix>"
    count = f"<KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys><Delimiter></Delimiter>"
    return Answer(
        200,
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"{head}{more}{count}<IsTruncated>{str(bool(then)).lower()}</IsTruncated>{contents}</ListBucketResult>",
        {"Content-Type": "application/xml"},
    )
