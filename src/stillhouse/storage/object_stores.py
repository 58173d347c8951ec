"""Object stores reached through obstore: S3, services that speak its protocol, and memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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

from stillhouse.errors import ObjectMissing, RepositoryDamaged, StoreRefused, StoreUnavailable
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
    from obstore import Attributes  # not there at run time

_PART = 8 * 2**20
_PARTS_AT_ONCE = 4
_NO_BUCKET = "NoSuchBucket"  # S3's error code; a HEAD's 404 has no body and so no code
# The words of obstore when keys cannot be had that were there at the start: by a file, or by Amazon's metadata service.
_NO_KEYS = re.compile("credential provider: StoreRefused: (.*)|/latest/(?:api/token|meta-data)")

# Answers in the 400s that another try may change: S3's and MinIO's "try again", by status or by code.
_PASSING_STATUS = (408, 409, 425, 429)
_PASSING_CODES = ("RequestTimeout", "IncompleteBody", "SlowDown")
_NO_REDIRECT = "redirect without LOCATION"  # obstore's words for a 3xx: the bucket is in another region

# The service is busy, and may say for how long.
_BUSY_STATUS = (429, 503)
# What to set, where an answer's code says more than its status.
_CODE_HINTS = {
    "ExpiredToken": "renew AWS_SESSION_TOKEN and the keys with it; keys that end are better in a file"
    " (AWS_SHARED_CREDENTIALS_FILE), which is read anew",
    "RequestTimeTooSkewed": "set this host's clock",
    "InvalidStorageClass": "the store has no such class: change storage_class in the repository's URL",
    "InvalidObjectState": "the object lies in an archive, which snapshots cannot be read from: bring it back, and"
    " choose another storage_class in the repository's URL",
    "InvalidBucketObjectLockConfiguration": "the bucket was made without object lock: leave object_lock out of the"
    " repository's URL, or take another bucket",
}
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")
_CERTIFICATE_HINT = (
    "AWS_CA_BUNDLE names a file with its authority, and AWS_ENDPOINT_URL the host as it is named in it"
)
_KEYS_HINT = "check the file that AWS_SHARED_CREDENTIALS_FILE names, or this machine's role at Amazon"

_RIGHTS_HINT = "check the access key, its secret and its rights: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
_REQUEST_HINT = "check AWS_ENDPOINT_URL and AWS_REGION, and that S3 is spoken at"
_AWAY_HINT = "check AWS_ENDPOINT_URL, and that a store answers at"


Client = S3Store | MemoryStore


@dataclass(frozen=True)
class Clients:
    """`writing` is for uploads, which have other time-outs and headers; `is_whole`: each is one request. `listing`
    tries a page again by itself, since a listing that breaks off begins anew. `reading` is for all else.

    `rest` asks the service for how many seconds it wants to be left alone.
    """

    reading: Client
    listing: Client
    writing: Callable[[], Client]
    attributes: "Attributes" = field(default_factory=dict)
    is_whole: bool = False
    rest: Callable[[], int] = lambda: 0


class BucketStore:
    """One try of each call: `PatientStore` tries again."""

    def __init__(self, clients: Clients, name: str, where: str = "") -> None:
        self._client, self._clients = clients.reading, clients
        self._name, self._where = name, where

    def put(self, key: str, chunks: Sequence[Chunk]) -> None:
        check_key(key)
        views = byte_views(chunks)
        with self._telling(f"writing {key}"):
            obstore.put(
                self._clients.writing(),
                key,
                views,
                attributes=self._clients.attributes,
                use_multipart=sum(map(len, views)) > _PART and not self._clients.is_whole,
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
            for page in obstore.list(self._clients.listing, folder or None):
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
                obstore.put(
                    self._clients.writing(),
                    key,
                    byte_views(chunks),
                    attributes=self._clients.attributes,
                    mode="create",
                )
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
        code, number = _code(text), re.search(r"status code: (\d{3})", text)
        status = int(number[1]) if number else 0
        if isinstance(error, FileNotFoundError) or code == _NO_BUCKET:
            return StoreRefused(f"{what}: no such bucket", hint="create the bucket")
        if keys := _NO_KEYS.search(text):
            return StoreUnavailable(f"{what}: {keys[1] or gist(text)}", hint=_KEYS_HINT)
        if certificate := _CERTIFICATE.search(text):
            told = f"{what}: its certificate is not trusted: {certificate[1]}"
            return StoreRefused(told, hint=f"{_CERTIFICATE_HINT}, which is {self._where}")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or status in (401, 403):
            told = f"{self._name} refused {doing}: {gist(text)}"
            return StoreRefused(told, hint=_CODE_HINTS.get(code, _RIGHTS_HINT))
        if _is_final(status, code) or _NO_REDIRECT in text:
            hint = _CODE_HINTS.get(code) or f"{_REQUEST_HINT}: {self._where}"
            return StoreRefused(f"{what}: {gist(text)}", hint=hint)
        away = StoreUnavailable(f"{what}: {gist(text)}", hint=f"{_AWAY_HINT}: {self._where}")
        if status in _BUSY_STATUS:
            away.retry_after = self._clients.rest()
        return away


def _code(text: str) -> str:
    found = re.search(r"<Code>(\w+)</Code>", text)
    return found[1] if found else ""


def _is_final(status: int, code: str) -> bool:
    """Tell whether the same request would get the same answer again."""
    if status == HTTPStatus.NOT_IMPLEMENTED:
        return True
    return 400 <= status < 500 and status not in _PASSING_STATUS and code not in _PASSING_CODES


def memory_store() -> BucketStore:
    """Return a new store in memory, which ends with the process."""
    client = MemoryStore()
    return BucketStore(Clients(client, client, lambda: client), "memory")


def gist(text: str) -> str:
    """Return the cause in one line: obstore appends whole response bodies and its own debug output."""
    line = text.split("\n", 1)[0].split("<?xml", 1)[0].rstrip(" :")
    code = _code(text)
    return f"{line}: {code}" if code else line
