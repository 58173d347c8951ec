"""Everyone who may call the API, each as a function that sends one request and returns the answer."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from stillhouse.catalog.access import passwords
from stillhouse.catalog.access import users as stored_users
from stillhouse.control.access import users
from stillhouse.control.access.access_keys import create_access_key, disable_access_key
from stillhouse.control.access.credentials import make_token
from stillhouse.domain.access.permissions import FULL_ACCESS, READ_ONLY_ACCESS
from stillhouse.domain.access.users import Token, User
from support.api.application import OTHER_PROJECT, PROJECT, Service
from support.api.client import Answer, SignedClient

USER_PASSWORD = "Correct-Horse-7"


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    body: Any = None
    raw: bytes | None = None


Send = Callable[[Request], Answer]


def policy(*actions: str, effect: str = "Allow", **more: Any) -> dict[str, Any]:
    """A document that allows (or allows everything except) these actions."""
    statements: list[dict[str, Any]] = [{"Effect": effect, "Action": list(actions), **more}]
    if effect == "Deny":
        statements.append({"Effect": "Allow", "Action": "dws:*:*"})
    return {"Version": "1.1", "Statement": statements}


def client_with(service: Service, *policies: str | dict[str, Any], project: str = PROJECT) -> SignedClient:
    """The client of a new access key with these policies."""
    key = create_access_key(service.control, project, policies or (FULL_ACCESS,))
    return replace(service.client, project=project, access_key=key.access_key, secret_key=key.secret_key)


def signing(client: SignedClient, **options: Any) -> Send:
    return lambda request: client.request(
        request.method, request.path, request.body, raw=request.raw, **options
    )


def sending(service: Service, headers: dict[str, str]) -> Send:
    """Without a signature."""

    def send(request: Request) -> Answer:
        content = request.raw or b""
        typed = headers | ({"Content-Type": "application/json"} if content else {})
        return service.client.send(
            request.method, request.path.replace("{p}", service.client.project), typed, content
        )

    return send


def temporary(client: SignedClient, narrowed_to: dict[str, Any] | None = None) -> tuple[SignedClient, str]:
    """The client of a temporary key that the client's own has made, and its security token."""
    identity = {"methods": ["token"], "token": {"duration_seconds": 900}}
    if narrowed_to is not None:
        identity["policy"] = narrowed_to
    answer = client.request("POST", "/v3.0/OS-CREDENTIAL/securitytokens", {"auth": {"identity": identity}})
    assert answer.status == 201, answer.raw
    made = answer.json["credential"]
    return replace(client, access_key=made["access"], secret_key=made["secret"]), made["securitytoken"]


def a_user(service: Service, name: str, *policies: str, project: str = PROJECT) -> User:
    # What a hash costs is written in it; one test pays the real price.
    with patch.object(passwords, "_N", 2**10):
        users.create_user(service.control, project, name, USER_PASSWORD, policies or (FULL_ACCESS,))
    with service.control.database.reading() as reading:
        user = stored_users.find_user_by_name(reading, project, name)
    assert user is not None
    return user


def a_token(service: Service, user: User) -> str:
    return make_token(service.control, user)[0]


def expired_token(service: Service, user: User) -> str:
    ended = datetime.now(UTC) - timedelta(seconds=1)
    token = f"expired-{user.id}"
    with service.control.database.transaction() as transaction:
        made = Token(user.id, ended - timedelta(hours=24), ended)
        stored_users.insert_token(transaction, hashlib.sha256(token.encode()).hexdigest(), made)
    return token


def strangers(service: Service) -> dict[str, tuple[Send, str]]:
    """Those who are refused whatever they ask for, with the code of the 401."""
    client = service.client
    disabled = client_with(service)
    disable_access_key(service.control, PROJECT, disabled.access_key)
    bearer, token = temporary(client)
    user = a_user(service, "expired")
    off = timedelta(minutes=16)
    return {
        "no key": (sending(service, {}), "APIGW.0301"),
        "an unknown key": (signing(replace(client, access_key="UNKNOWNKEY0000000001")), "APIGW.0301"),
        "a disabled key": (signing(disabled), "APIGW.0301"),
        "an expired date": (signing(client, now=datetime.now(UTC) - off), "APIGW.0301"),
        # Far enough that the date is still to come when the last operation of a slow run is tried.
        "a date to come": (signing(client, now=datetime.now(UTC) + timedelta(days=1)), "APIGW.0301"),
        "a temporary key without its token": (signing(bearer), "APIGW.0301"),
        "a temporary key with another token": (
            signing(bearer, signed={"X-Security-Token": token[::-1]}),
            "APIGW.0301",
        ),
        "an unknown token": (sending(service, {"X-Auth-Token": "nobody's"}), "APIGW.0301"),
        "an expired token": (
            sending(service, {"X-Auth-Token": expired_token(service, user)}),
            "APIGW.0307",
        ),
    }


def known(service: Service) -> dict[str, Send]:
    """Those of the project who may do everything."""
    bearer, token = temporary(service.client)
    user_token = a_token(service, a_user(service, "operator"))
    return {
        "full access": signing(service.client),
        "a temporary key with its token": signing(bearer, signed={"X-Security-Token": token}),
        "a temporary key with its token unsigned": signing(bearer, unsigned={"X-Security-Token": token}),
        "a token": sending(service, {"X-Auth-Token": user_token}),
    }


def readers(service: Service) -> dict[str, Send]:
    """Those of the project who may only read."""
    reader = client_with(service, READ_ONLY_ACCESS)
    bearer, token = temporary(service.client, policy("dws:*:get*", "dws:*:list*"))
    user_token = a_token(service, a_user(service, "reader", READ_ONLY_ACCESS))
    return {
        "a read-only key": signing(reader),
        "a temporary key narrowed to reading": signing(bearer, signed={"X-Security-Token": token}),
        "a read-only user's token": sending(service, {"X-Auth-Token": user_token}),
    }


def of_other_project(service: Service) -> dict[str, Send]:
    """Those who may do everything in another project; their paths name this one."""
    project = service.client.project
    client = client_with(service, project=OTHER_PROJECT)
    token = a_token(service, a_user(service, "outsider", project=OTHER_PROJECT))

    def sign_here(request: Request) -> Answer:
        return signing(client)(replace(request, path=request.path.replace("{p}", project)))

    return {
        "another project's key": sign_here,
        "another project's token": sending(service, {"X-Auth-Token": token}),
    }
