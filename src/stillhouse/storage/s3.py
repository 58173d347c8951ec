"""A bucket of an S3 service, as the repository's URL and the standard AWS_* variables say it."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from stillhouse.errors import InvalidInput
from stillhouse.storage import retry_after, s3_credentials
from stillhouse.storage.object_stores import BucketStore, Clients, gist
from stillhouse.storage.s3_credentials import KeysFile
from stillhouse.storage.s3_place import S3Place

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config  # not there at run time

_ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_CA_VARIABLE = "AWS_CA_BUNDLE"
_CONNECT = timedelta(seconds=5)
# Bounds of the silence of a read after which it is given up.
_STALLED = (timedelta(seconds=5), timedelta(seconds=30))
_WHOLE = 10  # times that, for a whole request: a pack, slowly
# `PatientStore` tries again: obstore would do so at once, however long the service wants to be left alone. Pages of a
# listing are tried again by obstore first.
_NEVER: "RetryConfig" = {"max_retries": 0}
_AT_ONCE: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=5)}
_ANEW = timedelta(hours=1)

_Connect = Callable[["ClientConfig"], S3Store]


@dataclass(frozen=True, slots=True)
class S3Access:
    """How to reach an S3 service. Empty fields come from the standard AWS_* environment variables."""

    endpoint: str = ""
    region: str = ""
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


def s3_store(place: S3Place, access: S3Access, *, stalled: timedelta) -> BucketStore:
    """Return a store in an S3 bucket. `stalled`: a read that is silent for so long is given up, within bounds."""
    endpoint = access.endpoint or next(filter(None, map(os.environ.get, _ENDPOINT_VARIABLES)), "")
    if endpoint and not endpoint.startswith(("http://", "https://")):  # obstore's library would panic
        raise InvalidInput(
            f"{place.name}: the endpoint {endpoint!r} is no address",
            hint="AWS_ENDPOINT_URL is like http://HOST:PORT or https://HOST",
        )
    keys = None if access.access_key else s3_credentials.source(place.name, endpoint, os.environ)
    if keys is not None:
        keys()  # a file that cannot be read is told now
    stalled = min(max(stalled, _STALLED[0]), _STALLED[1])
    # Plain HTTP only where the endpoint says so.
    options: ClientConfig = {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": _CONNECT,
        "timeout": stalled * _WHOLE,
    }
    ca_file = os.environ.get(_CA_VARIABLE, "")
    if ca_file:
        options["root_certificate"] = _authorities(place, ca_file)
    connect = partial(_connect, place, _config(place, access, endpoint), keys)
    # `read_timeout` counts from a request's begin, so that an upload which is slow would be given up for silence.
    reading_options: ClientConfig = {**options, "read_timeout": stalled}
    reading = connect(reading_options)
    return BucketStore(
        Clients(
            reading,
            connect(reading_options, _AT_ONCE),
            _lasting(connect, options) if not place.lock else _Locking(place, connect, options),
            attributes={"Storage-Class": place.storage_class} if place.storage_class else {},
            # The headers of a lock belong to the object, and so to no part of it.
            is_whole=bool(place.lock),
            rest=partial(retry_after.asked_for, reading, ca_file),
        ),
        place.name,
        endpoint or "Amazon S3 (no AWS_ENDPOINT_URL is set)",
    )


class _Locking:
    """Returns the client of uploads, which asks for a lock until a moment: so it is made anew each hour.

    obstore signs the headers that go with each request. No object is locked for a shorter time than was asked for.
    """

    def __init__(self, place: S3Place, connect: _Connect, options: "ClientConfig") -> None:
        self._place, self._connect, self._options = place, connect, options
        self._lock = threading.Lock()
        self._until = 0.0

    def __call__(self) -> S3Store:
        with self._lock:
            if time.monotonic() >= self._until:
                self._client = self._connect({**self._options, "default_headers": self._headers()})
                self._until = time.monotonic() + _ANEW.total_seconds()
            return self._client

    def _headers(self) -> dict[str, str]:
        until = datetime.now(UTC) + self._place.lock_for + _ANEW
        return {
            "x-amz-object-lock-mode": self._place.lock,
            "x-amz-object-lock-retain-until-date": f"{until:%Y-%m-%dT%H:%M:%SZ}",
        }


def _lasting(connect: _Connect, options: "ClientConfig") -> Callable[[], S3Store]:
    client = connect(options)
    return lambda: client


def _connect(
    place: S3Place,
    config: "S3Config",
    keys: KeysFile | None,
    options: "ClientConfig",
    retries: "RetryConfig" = _NEVER,
) -> S3Store:
    try:
        return S3Store(
            place.bucket,
            prefix=place.prefix or None,
            config=config,
            client_options=options,
            retry_config=retries,
            credential_provider=keys,
        )
    except (BaseError, ValueError) as error:
        raise InvalidInput(f"{place.name}: {gist(str(error))}") from error


def _config(place: S3Place, access: S3Access, endpoint: str) -> "S3Config":
    config: S3Config = {
        "virtual_hosted_style_request": place.is_virtual,
        # One DELETE a key: the bulk call is missing from some S3-compatible services.
        "disable_bulk_delete": True,
    }
    if endpoint:
        # obstore ranks it above all others, and takes it as it is, without the bucket.
        config["aws_endpoint_url_s3"] = _with_bucket(endpoint, place.bucket) if place.is_virtual else endpoint
    if access.region:
        config["region"] = access.region
    if access.access_key:
        config["access_key_id"] = access.access_key
        config["secret_access_key"] = access.secret_key
    if place.lock:  # S3 wants one of an object that is to be locked
        config["checksum_algorithm"] = "sha256"
    return config


def _with_bucket(endpoint: str, bucket: str) -> str:
    url = urlsplit(endpoint)
    if url.netloc.startswith(f"{bucket}."):
        return endpoint
    return url._replace(netloc=f"{bucket}.{url.netloc}").geturl()


def _authorities(place: S3Place, ca_file: str) -> bytes:
    try:
        return Path(ca_file).read_bytes()
    except OSError as error:
        raise InvalidInput(f"{place.name}: {_CA_VARIABLE}: {ca_file}: {error.strerror}") from error
