"""The operations of IAM that the SDKs and Terraform use: tokens, temporary keys, a caller's project and account.

A project is an account (domain) of its own here, and is named by its id. A caller belongs to one project, so
every name that a project is asked for by (the SDKs ask by the region's) means this one.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import Query, Request, Response

from stillhouse.api.gateway import addresses
from stillhouse.api.operations import service_catalog
from stillhouse.api.operations.routing import ControlOf, Router
from stillhouse.api.shapes import iam
from stillhouse.api.shapes.iam import (
    CreateTemporaryKeyRequest,
    CreateTokenRequest,
    Domains,
    Named,
    Projects,
    Scope,
    TemporaryKeyMade,
    TokenMade,
    TokenMethod,
)
from stillhouse.api.shapes.values import Json
from stillhouse.control.access import credentials, logins
from stillhouse.control.context import Control
from stillhouse.domain.access.users import User
from stillhouse.errors import InvalidInput, NotPermitted

routes = Router()


@routes.operation(
    "KeystoneCreateUserTokenByPassword", TokenMade, "The token is in the header X-Subject-Token", 201
)
def create_token(
    control: ControlOf,
    request: Request,
    response: Response,
    body: CreateTokenRequest,
    nocatalog: Annotated[str | None, Query(max_length=255)] = None,
) -> Json:
    """The token itself is in the header `X-Subject-Token`. With `nocatalog`, of any value, the catalog is empty."""
    wanted, scope = body.auth.identity.password.user, body.auth.scope or Scope()
    domain = wanted.domain or Named()
    if not wanted.id and not (wanted.name and (domain.id or domain.name)):
        raise InvalidInput("The user must be given by id, or by name and domain (which is its project's id).")
    user = logins.log_in(
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
    shown = iam.token(user, made, scope)
    if nocatalog is None:
        shown |= _catalog(control, request, user)
    return {"token": shown}


@routes.operation("KeystoneListProjects", Projects, "The caller's project")
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


@routes.operation("KeystoneListAuthDomains", Domains, "The caller's account")
def list_domains(control: ControlOf) -> Json:
    """Lists one account, the caller's."""
    domain = {
        **iam.domain(control.caller.project),
        "enabled": True,
        "description": "",
        "links": {"self": f"/v3/domains/{control.caller.project}"},
    }
    return {"domains": [domain], "links": {"self": "/v3/auth/domains", "previous": None, "next": None}}


@routes.operation("CreateTemporaryAccessKeyByToken", TemporaryKeyMade, "A key that ends by itself", 201)
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
            "expires_at": iam.moment(made.key.expires),
        }
    }


def _catalog(control: Control, request: Request, user: User) -> Json:
    """Return the catalog, empty for an unknown address: a caller who knows the address needs no catalog."""
    address = addresses.told(request, control.settings)
    if not address:
        return {"catalog": [], "hint": addresses.HINT}
    return {"catalog": service_catalog.entries(control, address, user.project)}
