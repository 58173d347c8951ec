"""Ids: the form of each kind, and makers of new ids."""

import re
import secrets
import uuid

PROJECT_ID = re.compile(r"[0-9a-f]{32}")
ACCESS_KEY = re.compile(r"[A-Z0-9]{20}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_uuid() -> str:
    """Return a new id of a cluster, snapshot or node: 36 characters in lower case, as in DWS."""
    return str(uuid.uuid4())


def new_hex() -> str:
    """Return a random 128-bit id in 32 hex digits, for jobs, packs, maps, manifests and lineages."""
    return secrets.token_hex(16)


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text.lower()) is not None


def is_project_id(text: str) -> bool:
    return PROJECT_ID.fullmatch(text) is not None
