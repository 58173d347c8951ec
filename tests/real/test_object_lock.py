"""Objects are locked by a real server, which checks that the headers of the lock are signed."""

import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import obstore
import pytest
from obstore.exceptions import GenericError
from obstore.store import S3Store

from stillhouse.storage.open import open_store
from stillhouse.storage.probe import probe
from stillhouse.storage.s3 import S3Access
from support.stores.s3_server import S3Server
from support.stores.versitygw import keeping_versions

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("s3")]


@pytest.fixture
def server() -> Iterator[S3Server]:
    with keeping_versions() as server:
        yield server


def client(server: S3Server, bucket: str, *, is_for_all: bool = False, **headers: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=server.endpoint,
        # In virtual-host style the endpoint is taken for a bucket's, so the key names the bucket.
        virtual_hosted_style_request=is_for_all,
        access_key_id=server.access_key,
        secret_access_key=server.secret_key,
        region=server.region,
        client_options={"allow_http": True, "default_headers": headers},
    )


def make_bucket_with_locks(server: S3Server, bucket: str) -> None:
    making = client(server, "none", is_for_all=True, **{"x-amz-bucket-object-lock-enabled": "true"})
    with suppress(GenericError):  # the answer has no ETag, as that of an object has
        obstore.put(making, bucket, b"", use_multipart=False)


def test_every_object_is_locked_and_the_store_is_fit_for_snapshots(server: S3Server) -> None:
    make_bucket_with_locks(server, "locked")
    access = S3Access(server.endpoint, server.region, server.access_key, server.secret_key)
    store = open_store("s3://locked/p?object_lock=GOVERNANCE&lock_days=3", s3=access)
    store.put("large", [bytes(20 << 20)])
    assert store.create("root", [b"ours"]) and not store.create("root", [b"theirs"])
    for key in ("large", "root"):
        url = obstore.sign(client(server, "locked"), "HEAD", f"p/{key}", timedelta(minutes=1))
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            assert answer.headers["x-amz-object-lock-mode"] == "GOVERNANCE"
            until = datetime.fromisoformat(answer.headers["x-amz-object-lock-retain-until-date"])
        assert until - datetime.now(UTC) > timedelta(days=2, hours=23)
    store.delete("root")  # hides it
    assert store.size("root") is None
    probe(store)
