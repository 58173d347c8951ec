"""Object stores reached through obstore: S3, services that speak its protocol, and memory."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    GenericError,
    NotModifiedError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, S3Store

from stillhouse.errors import InvalidInput, ObjectMissing, RepositoryDamaged, StoreRefused, StoreUnavailable
from stillhouse.storage import s3_credentials
from stillhouse.storage.store import (
    Chunk,
    StoredObject,
    byte_views,
    check_folder,
    check_key,
    check_range,
    create_once,
    is_key,
)

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config  # not there at run time

_PART = 8 * 2**20
_PARTS_AT_ONCE = 4
_NO_BUCKET = "NoSuchBucket"  # S3's error code; a HEAD's 404 has no body and so no code
_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
# Asked when no keys are set; only Amazon's machines have it.
_METADATA_SERVICE = re.compile("/latest/(api/token|meta-data)")

_CONNECT = timedelta(seconds=5)
# Bounds of the silence of a read after which it is given up.
_STALLED = (timedelta(seconds=5), timedelta(seconds=30))
_WHOLE = 10  # times that, for a whole request: a pack, slowly
# A short hiccup in a part of an upload must not cost the whole of it. `PatientStore` waits for longer ones.
_AT_ONCE: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=5)}

# Answers in the 400s that another try may change: S3's and MinIO's "try again", by status or by code.
_PASSING_STATUS = (408, 409, 425, 429)
_PASSING_CODES = ("RequestTimeout", "IncompleteBody", "SlowDown")
_NO_REDIRECT = "redirect without LOCATION"  # obstore's words for a 3xx: the bucket is in another region

_KEYS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_RIGHTS_HINT = "check the access key, its secret and its rights: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
_REQUEST_HINT = "check AWS_ENDPOINT_URL and AWS_REGION, and that S3 is spoken at"
_AWAY_HINT = "check AWS_ENDPOINT_URL, and that a store answers at"


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach an S3 service. Empty fields come from the standard AWS_* environment variables."""

    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


class BucketStore:
    """One try of each call: `PatientStore` tries again. Uploads have a client of their own, with other time-outs."""

    def __init__(
        self, client: S3Store | MemoryStore, name: str, writing: S3Store | None = None, where: str = ""
    ) -> None:
        self._client, self._writing = client, writing or client
        self._name, self._where = name, where

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        check_key(key)
        views = byte_views(chunks)
        with self._telling(f"writing {key}"):
            obstore.put(
                self._writing,
                key,
                views,
                use_multipart=sum(map(len, views)) > _PART,
                chunk_size=_PART,
                max_concurrency=_PARTS_AT_ONCE,
            )

    def create(self, key: str, chunks: Sequence[Chunk]) -> bool:
        check_key(key)
        return create_once(key, chunks, lambda: self._put_if_none(key, chunks), self.size, self.get)

    def get(self, key: str) -> bytes:
        check_key(key)
        with self._accessing(key):
            found = obstore.get(self._client, key)
            stored = found.bytes().to_bytes()
        if len(stored) != found.meta["size"]:
            raise StoreUnavailable(f"{self._name} cut {key} short", hint="try again")
        return stored

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_key(key)
        check_range(start, length)
        with self._accessing(key):
            try:
                found = obstore.get_range(self._client, key, start=start, length=length).to_bytes()
            except GenericError:
                # A range that starts after the end is refused, in words that differ from store to store.
                self._demand_length(key, start + length)
                raise
        if len(found) != length:
            self._demand_length(key, start + length)
            raise StoreUnavailable(f"{self._name} cut a range of {key} short", hint="try again")
        return found

    def size(self, key: str) -> int | None:
        check_key(key)
        try:
            with self._accessing(key):
                return obstore.head(self._client, key)["size"]
        except ObjectMissing:
            return None

    def stat(self, key: str) -> StoredObject | None:
        check_key(key)
        try:
            with self._accessing(key):
                found = obstore.head(self._client, key)
        except ObjectMissing:
            return None
        return StoredObject(key, found["size"], found["last_modified"], found["e_tag"] or "")

    def list(self, prefix: str) -> Iterator[StoredObject]:
        folder = check_folder(prefix)
        with self._telling(f"listing {folder or 'all'}"):
            for page in obstore.list(self._client, folder or None):
                for found in page:
                    # A console's marker of the folder itself, "folder/", comes without its slash.
                    if is_key(found["path"]) and found["path"] != folder:
                        yield StoredObject(
                            found["path"], found["size"], found["last_modified"], found["e_tag"] or ""
                        )

    def delete(self, key: str) -> None:
        check_key(key)
        # Some services answer 404 to the DELETE of a missing object.
        with suppress(ObjectMissing), self._accessing(key):
            obstore.delete(self._client, key)

    def _put_if_none(self, key: str, chunks: Sequence[Chunk]) -> bool:
        with self._telling(f"creating {key}"):
            try:
                obstore.put(self._writing, key, byte_views(chunks), mode="create")
            # 409, 412, and 304 of older MinIOs.
            except (AlreadyExistsError, PreconditionError, NotModifiedError):
                return False
        return True

    def _demand_length(self, key: str, end: int) -> None:
        size = self.size(key)
        if size is None:
            raise ObjectMissing(f"no object {key} in {self._name}", key=key)
        if size < end:
            raise RepositoryDamaged(f"{key} ends before byte {end}", key=key)

    @contextmanager
    def _accessing(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            if _NO_BUCKET in str(error):
                raise self._told(error, f"accessing {key}") from error
            raise ObjectMissing(f"no object {key} in {self._name}", key=key) from error
        except BaseError as error:
            raise self._told(error, f"accessing {key}") from error

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            raise self._told(error, doing) from error

    def _told(self, error: BaseError | FileNotFoundError, doing: str) -> StoreUnavailable:
        """Translate an error of obstore into our tree."""
        text, what = str(error), f"{self._name}: {doing}"
        if isinstance(error, FileNotFoundError) or _NO_BUCKET in text:
            return StoreRefused(f"{what}: no such bucket", hint="create the bucket")
        if _METADATA_SERVICE.search(text):
            return StoreRefused(f"{what}: no access key is set", hint=_KEYS_HINT)
        status = re.search(r"status code: (\d{3})", text)
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or (
            status and status[1] in ("401", "403")
        ):
            return StoreRefused(f"{self._name} refused {doing}: {_gist(text)}", hint=_RIGHTS_HINT)
        if (status and _is_final(int(status[1]), text)) or _NO_REDIRECT in text:
            return StoreRefused(f"{what}: {_gist(text)}", hint=f"{_REQUEST_HINT}: {self._where}")
        return StoreUnavailable(f"{what}: {_gist(text)}", hint=f"{_AWAY_HINT}: {self._where}")


def _is_final(status: int, text: str) -> bool:
    """Tell whether the same request would get the same answer again."""
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return True
    return (
        400 <= status < 500
        and status not in _PASSING_STATUS
        and not any(f"<Code>{code}</Code>" in text for code in _PASSING_CODES)
    )


def memory_store() -> BucketStore:
    """Return a new store in memory, which ends with the process."""
    return BucketStore(MemoryStore(), "memory")


def s3_store(bucket: str, prefix: str, access: S3Access, *, stalled: timedelta) -> BucketStore:
    """Return a store in an S3 bucket. `stalled`: a read that is silent for so long is given up, within bounds."""
    name = f"s3://{bucket}/{prefix}".rstrip("/")
    config: S3Config = {}
    if access.endpoint:
        config["aws_endpoint_url_s3"] = access.endpoint  # obstore ranks it above all others
    if access.region:
        config["region"] = access.region
    if access.access_key:
        config["access_key_id"] = access.access_key
        config["secret_access_key"] = access.secret_key
    # One DELETE a key: the bulk call is missing from some S3-compatible services.
    config["disable_bulk_delete"] = True
    endpoint = _endpoint(access)
    if endpoint and not endpoint.startswith(("http://", "https://")):  # obstore's library would panic
        raise InvalidInput(
            f"{name}: the endpoint {endpoint!r} is no address",
            hint="AWS_ENDPOINT_URL is like http://HOST:PORT or https://HOST",
        )
    if not access.access_key:
        s3_credentials.demand(name, endpoint, os.environ)
    stalled = min(max(stalled, _STALLED[0]), _STALLED[1])
    # Plain HTTP only where the endpoint says so.
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": _CONNECT,
        "timeout": stalled * _WHOLE,
    }
    try:
        # `read_timeout` counts from a request's begin, so that an upload which is slow would be given up for silence.
        writing = S3Store(
            bucket, prefix=prefix or None, config=config, client_options=options, retry_config=_AT_ONCE
        )
        options = {**options, "read_timeout": stalled}
        client = S3Store(
            bucket, prefix=prefix or None, config=config, client_options=options, retry_config=_AT_ONCE
        )
    except BaseError as error:
        raise InvalidInput(f"{name}: {_gist(str(error))}") from error
    return BucketStore(client, name, writing, endpoint or "Amazon S3 (no AWS_ENDPOINT_URL is set)")


def _endpoint(access: S3Access) -> str:
    from_environment = (os.environ.get(variable, "") for variable in _ENDPOINT_VARIABLES)
    return access.endpoint or next(filter(None, from_environment), "")


def _gist(text: str) -> str:
    """Return the cause in one line: obstore appends whole response bodies and its own debug output."""
    line = text.split("\n", 1)[0].split("<?xml", 1)[0].rstrip(" :")
    code = re.search(r"<Code>(\w+)</Code>", text)
    return f"{line}: {code[1]}" if code else line
