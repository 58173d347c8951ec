"""The operations of IAM that the SDKs and Terraform use: tokens, temporary keys, a caller's project and account.

A project is an account (domain) of its own here, and is named by its id. A caller belongs to one project, so
every name that a project is asked for by (the SDKs ask by the region's) means this one.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from fastapi import Request as HttpRequest
from pydantic import Field, SecretStr

from stillhouse.api.gateway import addresses
from stillhouse.api.operations import service_catalog
from stillhouse.api.operations.routing import ControlOf, answers, router
from stillhouse.api.shapes.iam import Domains, Projects, TemporaryKeyMade, TokenMade
from stillhouse.api.shapes.render import Json
from stillhouse.api.shapes.request import Request
from stillhouse.catalog.access.users import Token, User
from stillhouse.control.access import credentials, users
from stillhouse.control.context import Control
from stillhouse.errors import InvalidInput, NotPermitted

routes = router()

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


@routes.post(
    "/v3/auth/tokens",
    operation_id="KeystoneCreateUserTokenByPassword",
    **answers(TokenMade, "The token is in the header X-Subject-Token", 201),
)
def create_token(
    control: ControlOf,
    request: HttpRequest,
    response: Response,
    body: CreateTokenRequest,
    nocatalog: Annotated[str | None, Query(max_length=255)] = None,
) -> Json:
    """The token itself is in the header `X-Subject-Token`. With `nocatalog`, of any value, the catalog is empty."""
    wanted, scope = body.auth.identity.password.user, body.auth.scope or Scope()
    domain = wanted.domain or Named()
    if not wanted.id and not (wanted.name and (domain.id or domain.name)):
        raise InvalidInput("The user must be given by id, or by name and domain (which is its project's id).")
    user = users.log_in(
        control,
        wanted.password.get_secret_value(),
        user_id=wanted.id or "",
        project=domain.id or domain.name or "",
        name=wanted.name or "",
    )
    if scope.project and scope.project.id not in (None, user.project):
        raise NotPermitted("The user is of another project than the scope.")
    if scope.domain and user.project != (scope.domain.id or scope.domain.name):
        raise NotPermitted("The user is of another domain than the scope.")
    token, made = credentials.make_token(control, user)
    response.headers["X-Subject-Token"] = token
    shown = _token(user, made, scope)
    if nocatalog is None:
        shown |= _catalog(control, request, user)
    return {"token": shown}


@routes.get("/v3/projects", operation_id="KeystoneListProjects", **answers(Projects, "The caller's project"))
def list_projects(control: ControlOf, name: Annotated[str | None, Query(max_length=255)] = None) -> Json:
    """Lists one project, the caller's, by the name that the request asks for."""
    project = control.caller.project
    shown = {
        "id": project,
        "name": name or project,
        "domain_id": project,
        "parent_id": project,
        "enabled": True,
        "is_domain": False,
        "description": "",
        "links": {"self": f"/v3/projects/{project}"},
    }
    return {"projects": [shown], "links": {"self": "/v3/projects", "previous": None, "next": None}}


@routes.get(
    "/v3/auth/domains", operation_id="KeystoneListAuthDomains", **answers(Domains, "The caller's account")
)
def list_domains(control: ControlOf) -> Json:
    """Lists one account, the caller's."""
    domain = {
        **_domain(control.caller.project),
        "enabled": True,
        "description": "",
        "links": {"self": f"/v3/domains/{control.caller.project}"},
    }
    return {"domains": [domain], "links": {"self": "/v3/auth/domains", "previous": None, "next": None}}


@routes.post(
    "/v3.0/OS-CREDENTIAL/securitytokens",
    operation_id="CreateTemporaryAccessKeyByToken",
    **answers(TemporaryKeyMade, "A key that ends by itself", 201),
)
def create_temporary_key(control: ControlOf, body: CreateTemporaryKeyRequest) -> Json:
    """For a caller who signed the request or sent a token; `policy` limits the key to a part of their permissions."""
    identity = body.auth.identity
    life = timedelta(seconds=min((identity.token or TokenMethod()).duration_seconds, 10**6))
    made = credentials.make_temporary_key(control, life, identity.policy)
    return {
        "credential": {
            "access": made.key.access_key,
            "secret": made.key.secret_key,
            "securitytoken": made.security_token,
            "expires_at": _moment(made.key.expires),
        }
    }


def _catalog(control: Control, request: HttpRequest, user: User) -> Json:
    """Return the catalog, empty for an unknown address: a caller who knows the address needs no catalog."""
    address = addresses.told(request, control.settings)
    if not address:
        return {"catalog": [], "hint": addresses.HINT}
    return {"catalog": service_catalog.entries(control, address, user.project)}


def _token(user: User, made: Token, scope: Scope) -> Json:
    names = [policy if isinstance(policy, str) else "a policy of its own" for policy in user.policies]
    shown: Json = {
        "methods": ["password"],
        "issued_at": _moment(made.issued),
        "expires_at": _moment(made.expires),
        "user": {
            "id": user.id,
            "name": user.name,
            "domain": _domain(user.project),
            "password_expires_at": "",
        },
        "roles": [{"id": str(position), "name": name} for position, name in enumerate(names)],
        "catalog": [],
    }
    if scope.domain is not None:
        return shown | {"domain": _domain(user.project)}
    name = (scope.project.name if scope.project else None) or user.project
    return shown | {"project": {"id": user.project, "name": name, "domain": _domain(user.project)}}


def _domain(project: str) -> Json:
    return {"id": project, "name": project}


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
