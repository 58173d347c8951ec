"""Shapes of requests: field names and types as the SDKs know them, unknown fields ignored.

Types are strict, as they are in the Go and Java clients: no `true` for 1, and `"3"` for 3 only in the fields that a
vendor's client sends so, which are `DecimalText`. An optional field that is `""` counts as not given. The rules of
names, passwords and ports are in `domain.names`; this module adds only the rules of the wire.
"""

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from stillhouse.control.clusters.tags import MOST as MOST_TAGS
from stillhouse.domain import ids
from stillhouse.errors import SnapshotUnknown

_INT32_MAX = 2**31 - 1
_FORBIDDEN_IN_TAG = re.compile(r"[=*<>\\,|/]")


def _cluster_id(text: str) -> str:
    if not ids.is_uuid(text):
        raise ValueError("must be a UUID")
    return text.lower()


def _snapshot_id(text: str) -> str:
    """Read a snapshot's id. A malformed one is answered like an unknown one, unlike a cluster's id, as DWS does."""
    if not ids.is_uuid(text):
        raise SnapshotUnknown("a snapshot id is a UUID")
    return text.lower()


def _tag_text(text: str) -> str:
    if text != text.strip() or _FORBIDDEN_IN_TAG.search(text):
        raise ValueError("must neither begin or end with a space nor hold any of = * < > \\ , | /")
    return text


def _decimal(value: object) -> object:
    """Read a number. A text must have plain digits only, while int() would also take ` +1_0 `."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return value


def unless_empty(default: str) -> BeforeValidator:
    """Return a validator by which `""` in a query counts as not given, as in bodies (`Request`)."""
    return BeforeValidator(lambda sent: default if sent == "" else sent)


ClusterId = Annotated[str, AfterValidator(_cluster_id)]
SnapshotId = Annotated[str, AfterValidator(_snapshot_id)]
Limit = Annotated[int, Field(strict=True, ge=1, le=_INT32_MAX), BeforeValidator(_decimal)]
Offset = Annotated[int, Field(strict=True, ge=0, le=_INT32_MAX), BeforeValidator(_decimal)]
# A number that some clients send as text: `docs/api.md` lists the fields, and who sends them so.
DecimalText = Annotated[
    int,
    Field(strict=True, ge=0, le=_INT32_MAX),
    BeforeValidator(_decimal),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": _INT32_MAX},
                {"type": "string", "pattern": "^[0-9]{1,10}$"},
            ]
        }
    ),
]
SortKey = Literal["name", "started", "finished", "size", "status", "type"]
SortDirection = Literal["asc", "desc"]
# Facts that the service only gives back; bounded, so that a caller cannot store a book in one.
Text = Annotated[str, Field(max_length=255)]


class Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, sent: object) -> object:
        """Go clients cannot leave out a text or an object that they do not set: they send `""` (gophertelekomcloud)."""
        if not isinstance(sent, dict):
            return sent
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {name: value for name, value in sent.items() if value != "" or name not in optional}


class SnapshotToCreate(Request):
    name: str
    cluster_id: ClusterId
    description: str | None = None


class CreateSnapshotRequest(Request):
    snapshot: SnapshotToCreate


class CheckSnapshotRequest(Request):
    snapshot_name: str | None = None


class PublicIp(Request):
    public_bind_type: Literal["auto_assign", "not_use", "bind_existing"] | None = None
    eip_id: Text | None = None


class Tag(Request):
    key: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_text)]
    value: Annotated[str, Field(max_length=256), AfterValidator(_tag_text)] = ""


def _tags(value: object) -> object:
    """Read tags: the SDKs send one as an object, Terraform sends a list."""
    return [value] if isinstance(value, dict) else value


class ClusterToCreate(Request):
    name: str
    node_type: Text
    number_of_node: int
    vpc_id: Text
    subnet_id: Text
    security_group_id: Text | None = None
    availability_zone: Text | None = None
    port: int | None = None
    user_name: str
    user_pwd: SecretStr
    public_ip: PublicIp | None = None
    number_of_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_TAGS), BeforeValidator(_tags)] | None = None
    enterprise_project_id: Text | None = None


class CreateClusterRequest(Request):
    cluster: ClusterToCreate


class ClusterToRestore(Request):
    name: str
    vpc_id: Text | None = None
    subnet_id: Text | None = None
    security_group_id: Text | None = None
    availability_zone: Text | None = None
    port: int | None = None
    public_ip: PublicIp | None = None
    number_of_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    enterprise_project_id: Text | None = None
    ipv6_enable: bool | None = None
    server_settings: dict[str, str] = {}


class RestoreClusterRequest(Request):
    restore: ClusterToRestore


class DeleteClusterRequest(Request):
    keep_last_manual_snapshot: Annotated[int, Field(ge=0, le=_INT32_MAX)]


class CollectClusterRequest(Request):
    dry_run: bool = False


class RestartClusterRequest(Request):
    """Carries nothing; Terraform does not even send it."""

    restart: dict[str, object] | None = None


class ProofScheduleRequest(Request):
    every_days: Annotated[int, Field(ge=0, le=3650)]
    newest_only: bool = True
