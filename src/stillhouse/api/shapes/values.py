"""Values that the bodies of many resources share: numbers, ids, pages, times, and the bases of requests and answers.

Requests have the field names and types that the SDKs know; unknown fields are ignored. Types are strict, as they are
in the Go and Java clients: no `true` for 1, and `"3"` for 3 only in the fields that a vendor's client sends so, which
are `DecimalText`. An optional field that is `""` or null counts as not given. The rules of names, passwords and ports
are in `domain.names`; requests add only the rules of the wire.

Classes of answers serve the OpenAPI document and the tests. The functions beside them build the JSON, which is sent
as it is: nothing is validated when a request is answered. The fields are described in `api/document/glossary`.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from stillhouse.domain import ids
from stillhouse.errors import SnapshotUnknown

Json = dict[str, object]
# Clients only show it. It is ours to count, as DWS's is not PostgreSQL's either.
VERSION = "1.0.0"
DATASTORE = "dws"
INT32_MAX = 2**31 - 1
GB = 1024**3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TWO_DIGITS = [f"{number:02}" for number in range(60)]
Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
NullableText = str | None


def _cluster_id(text: str) -> str:
    if not ids.is_uuid(text):
        raise ValueError("must be a UUID")
    return text.lower()


def _snapshot_id(text: str) -> str:
    """Read a snapshot's id. A malformed one is answered like an unknown one, unlike a cluster's id, as DWS does."""
    if not ids.is_uuid(text):
        raise SnapshotUnknown("a snapshot id is a UUID")
    return text.lower()


def _decimal(value: object) -> object:
    """Read a number. A text must have plain digits only, while int() would also take ` +1_0 `."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        return int(value)
    return value


def unless_empty(default: str | None) -> BeforeValidator:
    """Return a validator by which `""` in a query counts as not given, as in bodies (`Request`)."""
    return BeforeValidator(lambda sent: default if sent == "" else sent)


def _in_utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


# A time in ISO 8601; without a zone it is in UTC.
AwareTime = Annotated[datetime, AfterValidator(_in_utc)]
ClusterId = Annotated[str, AfterValidator(_cluster_id)]
SnapshotId = Annotated[str, AfterValidator(_snapshot_id)]
Limit = Annotated[int, Field(strict=True, ge=1, le=INT32_MAX), BeforeValidator(_decimal)]
Offset = Annotated[int, Field(strict=True, ge=0, le=INT32_MAX), BeforeValidator(_decimal)]
# A number that some clients send as text: `docs/api.md` lists the fields, and who sends them so.
DecimalText = Annotated[
    int,
    Field(strict=True, ge=0, le=INT32_MAX),
    BeforeValidator(_decimal),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": INT32_MAX},
                {"type": "string", "pattern": "^[0-9]{1,10}$"},
            ]
        }
    ),
]
# Facts that the service only gives back; bounded, so that a caller cannot store a book in one.
ShortText = Annotated[str, Field(max_length=255)]


class Request(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, sent: object) -> object:
        """Leave out fields that a client cannot leave out: Go sends `""` (gophertelekomcloud), Ansible null (tags)."""
        if not isinstance(sent, dict):
            return sent
        optional = {name for name, field in cls.model_fields.items() if not field.is_required()}
        return {
            name: value for name, value in sent.items() if name not in optional or value not in ("", None)
        }


class Answer(BaseModel):
    """Every key is always there; a missing value is null."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Nothing(Answer):
    """An empty object, because clients decode the body of every answer."""


class Done(Answer):
    error_code: NullableText
    error_msg: NullableText


class Id(Answer):
    id: str


class Accepted(Answer):
    error_code: NullableText
    error_msg: NullableText
    job_id: NullableText


def snapshot_time(moment: datetime) -> str:
    """Return 2026-11-30T09:05:00. A list writes thousands of them, and `isoformat` takes four times as long."""
    date = f"{moment.year}-{_TWO_DIGITS[moment.month]}-{_TWO_DIGITS[moment.day]}"
    return f"{date}T{_TWO_DIGITS[moment.hour]}:{_TWO_DIGITS[moment.minute]}:{_TWO_DIGITS[moment.second]}"


def cluster_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def epoch_milliseconds(moment: datetime) -> str:
    return str((moment - _EPOCH) // timedelta(milliseconds=1))
