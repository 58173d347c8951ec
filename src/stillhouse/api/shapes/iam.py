"""Tokens, temporary keys, projects and accounts: the bodies of requests and answers, and how they are shown."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from stillhouse.api.shapes.values import Answer, Json, NullableText, Request
from stillhouse.domain.access import users

Name = Annotated[str, Field(max_length=255)]


class Named(Request):
    """A domain or a project, by id or by name."""

    id: Name | None = None
    name: Name | None = None


class PasswordUser(Request):
    id: Name | None = None
    name: Name | None = None
    domain: Named | None = None
    password: SecretStr = Field(max_length=1024)


class PasswordMethod(Request):
    user: PasswordUser


class PasswordIdentity(Request):
    methods: list[Literal["password"]] = Field(min_length=1, max_length=1)
    password: PasswordMethod


class Scope(Request):
    project: Named | None = None
    domain: Named | None = None


class PasswordAuth(Request):
    identity: PasswordIdentity
    scope: Scope | None = None


class CreateTokenRequest(Request):
    auth: PasswordAuth


class TokenMethod(Request):
    duration_seconds: int = 900


class TokenIdentity(Request):
    methods: list[Literal["token"]] = Field(min_length=1, max_length=1)
    token: TokenMethod | None = None
    policy: dict[str, Any] | None = None


class TokenAuth(Request):
    identity: TokenIdentity


class CreateTemporaryKeyRequest(Request):
    auth: TokenAuth


class CatalogEndpoint(Answer):
    id: str
    interface: str
    region: str
    region_id: str
    url: str


class CatalogEntry(Answer):
    id: str
    type: str
    name: str
    endpoints: list[CatalogEndpoint]


class Domain(Answer):
    id: str
    name: str


class TokenUser(Answer):
    id: str
    name: str
    domain: Domain
    password_expires_at: str


class TokenProject(Answer):
    id: str
    name: str
    domain: Domain


class TokenRole(Answer):
    id: str
    name: str


class Token(Answer):
    methods: list[str]
    issued_at: str
    expires_at: str
    user: TokenUser
    roles: list[TokenRole]
    catalog: list[CatalogEntry]
    hint: str | None = None
    project: TokenProject | None = None
    domain: Domain | None = None


class TokenMade(Answer):
    token: Token


class SelfLink(Answer):
    self: str


class PageLinks(Answer):
    self: str
    previous: NullableText
    next: NullableText


class ShownProject(Answer):
    id: str
    name: str
    domain_id: str
    parent_id: str
    enabled: bool
    is_domain: bool
    description: str
    links: SelfLink


class Projects(Answer):
    projects: list[ShownProject]
    links: PageLinks


class ShownDomain(Answer):
    id: str
    name: str
    enabled: bool
    description: str
    links: SelfLink


class Domains(Answer):
    domains: list[ShownDomain]
    links: PageLinks


class TemporaryKey(Answer):
    access: str
    secret: str
    securitytoken: str
    expires_at: str


class TemporaryKeyMade(Answer):
    credential: TemporaryKey


class ServiceCatalog(Answer):
    catalog: list[CatalogEntry]
    links: PageLinks


class VersionLink(Answer):
    rel: str
    href: str


class MediaType(Answer):
    base: str
    type: str


class IdentityVersion(Answer):
    id: str
    status: str
    updated: str
    links: list[VersionLink]
    media_types: list[MediaType] = Field(alias="media-types")


class VersionShown(Answer):
    version: IdentityVersion


class IdentityVersions(Answer):
    values: list[IdentityVersion]


class VersionList(Answer):
    versions: IdentityVersions


def token(user: users.User, made: users.Token, scope: Scope) -> Json:
    names = [policy if isinstance(policy, str) else "a policy of its own" for policy in user.policies]
    shown: Json = {
        "methods": ["password"],
        "issued_at": moment(made.issued),
        "expires_at": moment(made.expires),
        "user": {
            "id": user.id,
            "name": user.name,
            "domain": domain(user.project),
            "password_expires_at": "",
        },
        "roles": [{"id": str(position), "name": name} for position, name in enumerate(names)],
        "catalog": [],
    }
    if scope.domain is not None:
        return shown | {"domain": domain(user.project)}
    name = (scope.project.name if scope.project else None) or user.project
    return shown | {"project": {"id": user.project, "name": name, "domain": domain(user.project)}}


def domain(project: str) -> Json:
    return {"id": project, "name": project}


def moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
