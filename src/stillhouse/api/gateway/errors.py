"""Translates errors into DWS's: the status, code and text that a caller gets for each of ours."""

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from stillhouse.errors import (
    ApiUnknown,
    BodyMissing,
    ClusterBusy,
    ClusterUnknown,
    Conflict,
    DatabaseUnknown,
    Forbidden,
    InvalidInput,
    NameTaken,
    NotFound,
    NotOffered,
    OnAnotherHost,
    OperationUnknown,
    SnapshotUnknown,
    StateForbids,
    StillhouseError,
    TokenExpired,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    WrongKind,
)


class BodyTooLarge(InvalidInput):
    code = "input.body-too-large"
    status = 413


class UriTooLong(InvalidInput):
    code = "input.uri-too-long"
    status = 414


class HeadersTooLarge(InvalidInput):
    code = "input.headers-too-large"
    status = 494  # not a registered status: the one the cloud's gateway answers


class RequestTooSlow(InvalidInput):
    """A head or a body did not arrive in time."""

    code = "input.too-slow"
    status = 408


class ErrorBody(BaseModel):
    """An error's body, with every key that clients look at; SDKs read the first pair, old clients the second."""

    error_code: str = Field(examples=["DWS.0001"])
    error_msg: str
    errCode: str
    externalMessage: str
    request_id: str


# Looked up along a class's bases, so a new error answers as its parent until it is listed.
_CODES: dict[type[StillhouseError], tuple[int, str]] = {
    StillhouseError: (500, "DWS.0005"),
    InvalidInput: (400, "DWS.0001"),
    BodyMissing: (400, "DWS.0006"),
    NotOffered: (400, "DWS.5095"),
    WrongKind: (400, "DWS.5095"),
    BodyTooLarge: (413, "APIGW.0201"),
    UriTooLong: (414, "APIGW.0201"),
    HeadersTooLarge: (494, "APIGW.0201"),
    RequestTooSlow: (408, "APIGW.0201"),
    Unauthenticated: (401, "APIGW.0301"),
    TokenExpired: (401, "APIGW.0307"),
    Forbidden: (403, "DWS.0015"),
    StateForbids: (403, "DWS.7023"),
    NotFound: (404, "DWS.0015"),
    ApiUnknown: (404, "APIGW.0101"),
    ClusterUnknown: (404, "DWS.0047"),
    SnapshotUnknown: (400, "DWS.5149"),
    DatabaseUnknown: (400, "DWS.5172"),
    OperationUnknown: (400, "DWS.5212"),
    Conflict: (409, "DWS.0011"),
    ClusterBusy: (409, "DWS.0011"),
    NameTaken: (409, "DWS.5050"),
    TooManyRequests: (429, "APIGW.0308"),
    Unavailable: (503, "DWS.0005"),
}

# Where the cloud service answers one operation unlike the others. A taken name of a snapshot or policy has no
# published code; DWS.5039 ("parameter duplicate") describes it.
_CODES_OF_OPERATION: dict[tuple[str, type[StillhouseError]], tuple[int, str]] = {
    ("CreateSnapshot", NameTaken): (400, "DWS.5039"),
    ("CheckSnapshot", NameTaken): (400, "DWS.5039"),
    ("CopySnapshot", NameTaken): (400, "DWS.5039"),
    ("CreateSnapshotPolicy", NameTaken): (400, "DWS.5039"),
    ("DeleteSnapshot", SnapshotUnknown): (400, "DWS.0001"),
    ("UndeleteSnapshot", NameTaken): (400, "DWS.5039"),
}

# Texts that must not depend on the error's origin. Terraform matches the first. They must not tell another
# project's resource from one that never existed, or show the inside of the service.
_TEXTS: dict[type[StillhouseError], str] = {
    ClusterUnknown: "Cluster does not exist or has been deleted.",
    SnapshotUnknown: "The snapshot ID is invalid.",
    Unavailable: "The service is unavailable for the moment. Try again later.",
    StillhouseError: "Server failure.",
}


def answer(error: StillhouseError, operation: str, request_id: str) -> tuple[int, ErrorBody]:
    """Return the status and body that `operation` answers `error` with."""
    status, code = _code(error, operation)
    text = _text(error, status)
    body = ErrorBody(
        error_code=code, error_msg=text, errCode=code, externalMessage=text, request_id=request_id
    )
    return status, body


def every_answer() -> set[tuple[int, str]]:
    """Return every status and code that an error is answered with."""
    return {*_CODES.values(), *_CODES_OF_OPERATION.values()}


def codes_of(status: int, operation: str) -> list[str]:
    """Return every code that `operation` may answer with under this status, in order."""
    codes = {code for answered, code in _CODES.values() if answered == status}
    own = {
        code
        for (of, _), (answered, code) in _CODES_OF_OPERATION.items()
        if (of, answered) == (operation, status)
    }
    return sorted(codes | own)


def invalid_input(error: RequestValidationError) -> InvalidInput:
    """Word the error: one sentence per fault, which names the parameter and never repeats its value."""
    faults = [
        f"{_parameter(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
        for fault in error.errors()[:3]
    ]
    return InvalidInput("Invalid parameter. " + "; ".join(faults))


def _code(error: StillhouseError, operation: str) -> tuple[int, str]:
    kinds = [kind for kind in type(error).__mro__ if issubclass(kind, StillhouseError)]
    for kind in kinds:
        if (operation, kind) in _CODES_OF_OPERATION:
            return _CODES_OF_OPERATION[operation, kind]
        if kind in _CODES:
            return _CODES[kind]
    raise AssertionError("StillhouseError itself is listed")


def _text(error: StillhouseError, status: int) -> str:
    if isinstance(error, ClusterUnknown | SnapshotUnknown):
        return _TEXTS[type(error)]
    if isinstance(error, OnAnotherHost):
        return str(error)
    if status == 503:
        return _TEXTS[Unavailable]
    return str(error) if status < 500 else _TEXTS[StillhouseError]


def _parameter(location: tuple[int | str, ...]) -> str:
    """Return `("body", "snapshot", "name")` as `snapshot.name`, cut because a caller's own key could be long."""
    inside = location[1:] if location[0] in ("body", "path", "query") else location
    return ".".join(str(part)[:64] for part in inside) or "body"
