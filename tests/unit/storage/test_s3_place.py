"""The URL of a repository in an S3 service: what it may say, and how a wrong one is refused."""

from datetime import timedelta

import pytest

from stillhouse.errors import InvalidInput
from stillhouse.storage.s3_place import S3Place, place_of


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("s3://bucket", S3Place("bucket")),
        ("s3://bucket/a/b/", S3Place("bucket", "a/b")),
        ("s3://bucket/a?addressing=path", S3Place("bucket", "a")),
        ("s3://bucket?addressing=virtual", S3Place("bucket", is_virtual=True)),
        ("s3://bucket/a?storage_class=STANDARD_IA", S3Place("bucket", "a", storage_class="STANDARD_IA")),
        (
            "s3://bucket/a?object_lock=COMPLIANCE&lock_days=30",
            S3Place("bucket", "a", lock="COMPLIANCE", lock_for=timedelta(days=30)),
        ),
    ],
)
def test_a_url_says_where_and_how_objects_are_stored(text: str, place: S3Place) -> None:
    assert place_of(text) == place


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("s3:///prefix", "not an S3 location"),
        ("s3://bucket#a", "not an S3 location"),
        ("s3://bucket?endpoint=http://x", "endpoint"),
        ("s3://bucket?addressing=host", "addressing is path or virtual"),
        ("s3://bucket?addressing=path&addressing=path", "twice"),
        ("s3://bucket?storage_class=", "storage_class has no value"),
        ("s3://bucket?storage_class=A%0d%0aB: c", "storage_class is not a name"),
        ("s3://bucket?object_lock=COMPLIANCE", "together"),
        ("s3://bucket?lock_days=3", "together"),
        ("s3://bucket?object_lock=LEGAL&lock_days=3", "object_lock is GOVERNANCE or COMPLIANCE"),
        ("s3://bucket?object_lock=GOVERNANCE&lock_days=0", "lock_days is a whole number"),
        ("s3://bucket?object_lock=GOVERNANCE&lock_days=99999999999", "lock_days is a whole number"),
        ("s3://bucket/Prefix", "not an object key"),
    ],
)
def test_a_url_that_says_something_else_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        place_of(text)
