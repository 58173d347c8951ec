"""Registrations of clusters whose servers are somebody's, and their check-ups: bodies, and how they are shown."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from stillhouse.api.shapes.values import INT32_MAX, Answer, Json, NullableText, Request, cluster_time
from stillhouse.domain.registered.check_up import CheckUp, Finding
from stillhouse.domain.registered.registration import MOST_DATA_NODES

Address = Annotated[str, Field(max_length=300)]
Addresses = Annotated[list[Address], Field(max_length=8)]
Certificate = Annotated[str, Field(max_length=32768)]


class Login(Request):
    """A field that is not understood is refused: it may be a file, which only the operator can name."""

    model_config = ConfigDict(extra="forbid")

    role: Annotated[str, Field(max_length=63)] | None = None
    password: SecretStr | None = None
    tls: Annotated[str, Field(max_length=16)] | None = None
    ca_certificate: Certificate | None = None


class ServerToRegister(Login):
    hosts: Addresses
    known_as: Addresses | None = None


class Connections(Login):
    engine: Annotated[str, Field(max_length=16)] | None = None
    coordinator: ServerToRegister
    data_nodes: Annotated[list[ServerToRegister], Field(max_length=MOST_DATA_NODES)] | None = None


class ClusterToRegister(Connections):
    name: str


class RegisterRequest(Request):
    cluster: ClusterToRegister


class ConnectionsRequest(Request):
    cluster: Connections


class RemoveRequest(Request):
    keep_last_manual_snapshot: Annotated[int, Field(ge=0, le=INT32_MAX)] = 0
    dead_nodes: bool = False


class ShownFinding(Answer):
    node: str
    weight: str
    about: str
    message: str
    mend: str


class CheckUpReport(Answer):
    findings: list[ShownFinding]


class LatestCheckUp(Answer):
    time: NullableText
    findings: list[ShownFinding] | None


def document(body: RegisterRequest | ConnectionsRequest) -> dict[str, Any]:
    """Return the registration in a body, as `domain.registered.registration` reads it."""
    found: dict[str, Any] = _plain(body.cluster)
    return found


def findings(found: Sequence[Finding]) -> list[Json]:
    return [
        {
            "node": one.node,
            "weight": one.weight.value,
            "about": one.about,
            "message": one.message,
            "mend": one.mend,
        }
        for one in found
    ]


def check_up(latest: CheckUp | None) -> Json:
    if latest is None:
        return {"time": None, "findings": None}
    return {"time": cluster_time(latest.time), "findings": findings(latest.findings)}


def _plain(value: object) -> Any:
    """Return what was sent, with secrets in the open."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, BaseModel):
        return {name: _plain(one) for name, one in value if one is not None}
    return [_plain(one) for one in value] if isinstance(value, list) else value
