"""Whether there is anything to sign requests to S3 with, which is told before a request waits for it in vain."""

import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

from stillhouse.errors import StoreRefused

_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# Each of these makes obstore ask another source than the keys (object_store's Rust source, aws/builder.rs).
_OTHER_SOURCES = (
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)
# Where Amazon's machines, and no others, learn the keys of their role.
_METADATA_SERVICE = "http://169.254.169.254"
_METADATA_SECONDS = 1.0
_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the service's environment; files in ~/.aws are not read"


def demand(name: str, endpoint: str, environment: Mapping[str, str]) -> None:
    """See to it that a source of credentials is set for the store of this name. Raises StoreRefused.

    `endpoint` is empty for Amazon's own; only there a machine may have a role, whose keys it asks for.
    """
    lacking = [variable for variable in _PAIR if not environment.get(variable)]
    if len(lacking) == 1:
        raise StoreRefused(f"{name}: {lacking[0]} is not set", hint=_HINT)
    if not lacking or any(environment.get(variable) for variable in _OTHER_SOURCES):
        return
    if endpoint and ".amazonaws.com" not in endpoint:
        raise StoreRefused(f"{name}: no access key is set for {endpoint}", hint=_HINT)
    if not _answers(environment.get("AWS_METADATA_ENDPOINT") or _METADATA_SERVICE):
        raise StoreRefused(
            f"{name}: no access key is set, and this machine has no role at Amazon", hint=_HINT
        )


def _answers(url: str) -> bool:
    place = urlsplit(url)
    try:
        with socket.create_connection((place.hostname or "", place.port or 80), _METADATA_SECONDS):
            return True
    except OSError:
        return False
