"""Sessions of the console: how they begin and end, whom their cookies serve, and which forms are believed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from stillhouse.bootstrap.faces import application
from stillhouse.catalog.access import audit_log
from stillhouse.clock import SystemClock
from stillhouse.control.access.access_keys import create_access_key, disable_access_key
from stillhouse.control.access.users import create_user, disable_user
from support.api.application import PROJECT, Service, serving_service
from support.api.server import serving
from support.console.visitor import SIGN_IN, Visitor, visiting

PASSWORD = "a-long-enough-password"


@dataclass
class LateClock(SystemClock):
    """The real clock, which a test can put forward."""

    ahead: timedelta = field(default_factory=timedelta)

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    data: Path = tmp_path_factory.mktemp("console")
    with serving_service(data, LateClock()) as running:
        yield running


@pytest.fixture
def clock(service: Service) -> Iterator[LateClock]:
    assert isinstance(service.control.clock, LateClock)
    yield service.control.clock
    service.control.clock.ahead = timedelta()


@pytest.fixture
def visitor(service: Service) -> Iterator[Visitor]:
    with visiting(service.endpoint) as one:
        yield one


def signed_in(service: Service, visitor: Visitor) -> Visitor:
    key = create_access_key(service.control, PROJECT)
    assert visitor.sign_in(key.access_key, key.secret_key).status_code == 303
    return visitor


def is_in(visitor: Visitor) -> bool:
    """Whether the visitor is shown a page, and not the way to the sign-in."""
    answer = visitor.get("/console/clusters")
    assert answer.status_code == 200 or answer.headers["location"].startswith(SIGN_IN)
    return answer.status_code == 200


def test_a_page_leads_to_the_sign_in_and_from_there_back(service: Service, visitor: Visitor) -> None:
    asked = visitor.get("/console/activity?show=audit")
    assert (asked.status_code, asked.headers["location"]) == (
        303,
        f"{SIGN_IN}?next=%2Fconsole%2Factivity%3Fshow%3Daudit",
    )
    visitor.get(asked.headers["location"])
    key = service.client
    sent = visitor.send(asked.headers["location"], by="key", key=key.access_key, secret=key.secret_key)
    assert (sent.status_code, sent.headers["location"]) == (303, "/console/activity?show=audit")
    assert visitor.get("/console/activity?show=audit").status_code == 200


@pytest.mark.parametrize(
    "place", ["https://evil.example/", "//evil.example", "/v1.0/x", "/console/../x", "/console/\\evil"]
)
def test_the_way_back_leads_to_the_console_alone(service: Service, visitor: Visitor, place: str) -> None:
    key = service.client
    assert visitor.sign_in(key.access_key, key.secret_key, place).headers["location"] == "/console/clusters"


def test_a_user_signs_in_by_password(service: Service, visitor: Visitor) -> None:
    create_user(service.control, PROJECT, "anna", PASSWORD)
    assert visitor.sign_in_as(PROJECT, "anna", "not-" + PASSWORD).status_code == 401
    assert not is_in(visitor)
    assert visitor.sign_in_as(PROJECT, "anna", PASSWORD).status_code == 303
    assert is_in(visitor)
    disable_user(service.control, PROJECT, "anna")
    assert not is_in(visitor)


def test_a_disabled_key_loses_its_session_at_the_next_request(service: Service, visitor: Visitor) -> None:
    key = create_access_key(service.control, PROJECT)
    visitor.sign_in(key.access_key, key.secret_key)
    assert is_in(visitor)
    disable_access_key(service.control, PROJECT, key.access_key)
    assert not is_in(visitor)


def test_a_session_ends_by_sign_out_wherever_its_token_went(service: Service, visitor: Visitor) -> None:
    signed_in(service, visitor)
    cookies = dict(visitor.http.cookies)
    visitor.get("/console/clusters")
    assert visitor.send("/console/sign-out").headers["location"] == SIGN_IN
    with visiting(service.endpoint) as thief:
        thief.http.cookies.update(cookies)
        assert not is_in(thief)


def test_a_session_ends_when_it_is_idle_and_in_any_case(
    service: Service, visitor: Visitor, clock: LateClock
) -> None:
    signed_in(service, visitor)
    for _ in range(3):
        clock.ahead += timedelta(minutes=10)
        assert is_in(visitor)
    clock.ahead += timedelta(minutes=16)
    assert not is_in(visitor)
    assert "ended" in visitor.get("/console/clusters").headers["location"]

    signed_in(service, visitor)
    for _ in range(12 * 6 - 1):
        clock.ahead += timedelta(minutes=10)
        assert is_in(visitor)
    clock.ahead += timedelta(minutes=10)
    assert not is_in(visitor)


def test_the_cookie_is_for_this_host_alone(service: Service) -> None:
    key = service.client
    with visiting(service.endpoint) as plain:
        cookie = plain.sign_in(key.access_key, key.secret_key).headers["set-cookie"]
    assert "stillhouse-session=" in cookie and "HttpOnly; SameSite=Strict" in cookie
    behind = service.control.settings.model_copy(update={"trusted_proxies": "127.0.0.1"})
    app = application(replace(service.control, settings=behind), is_shutting_down=lambda: False)
    through = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}
    with serving(app) as endpoint, visiting(endpoint, **through) as secure:
        # By hand: to this client the address is one of plain HTTP, so it would keep such a cookie to itself.
        given = secure.get(SIGN_IN).headers["set-cookie"].partition(";")[0]
        fields = {"csrf": secure.token, "by": "key", "key": key.access_key, "secret": key.secret_key}
        cookie = secure.http.post(SIGN_IN, data=fields, headers={"cookie": given}).headers["set-cookie"]
    assert "__Host-stillhouse-session=" in cookie and "Path=/; HttpOnly; SameSite=Strict; Secure" in cookie


@pytest.mark.parametrize("token", ["", "0" * 64, None])
def test_a_form_without_the_session_s_token_changes_nothing(
    service: Service, visitor: Visitor, token: str | None
) -> None:
    cluster = service.add_cluster()
    before = len(service.list_snapshots())
    signed_in(service, visitor)
    fields = {"name": "by-a-stranger"} | ({} if token is None else {"csrf": token})
    sent = visitor.http.post(f"/console/clusters/{cluster}/take", data=fields)
    assert sent.status_code == 403
    visitor.get(f"/console/clusters/{cluster}")
    of_another = visitor.http.post(
        f"/console/clusters/{cluster}/take",
        data={"csrf": visitor.token, "name": "by-a-stranger"},
        headers={"sec-fetch-site": "cross-site"},
    )
    assert of_another.status_code == 403
    assert len(service.list_snapshots()) == before
    with visiting(service.endpoint) as stranger:
        key = service.client
        fields = {"csrf": token or "", "by": "key", "key": key.access_key, "secret": key.secret_key}
        assert stranger.http.post(SIGN_IN, data=fields).status_code == 403
        assert "stillhouse-session" not in stranger.http.cookies


def test_guesses_lock_out_and_stand_in_the_audit(service: Service, visitor: Visitor) -> None:
    key = create_access_key(service.control, PROJECT)
    for _ in range(6):
        assert visitor.sign_in(key.access_key, "a guess").status_code == 401
    assert visitor.sign_in(key.access_key, key.secret_key).status_code == 401
    with service.control.database.reading() as reading:
        found = audit_log.list_records(reading, limit=1000)
    mine = [one for one in found if one.access_key == key.access_key and one.action == "SignIn"]
    assert mine and {one.outcome for one in mine} == {"auth.failed"}
    assert key.secret_key not in repr(found)


def test_no_token_is_in_the_catalog(service: Service, visitor: Visitor) -> None:
    signed_in(service, visitor)
    token = visitor.http.cookies["stillhouse-session"]
    service.control.database.version()
    files = b"".join(path.read_bytes() for path in service.data.glob("catalog.sqlite*"))
    assert token.encode() not in files


@pytest.mark.parametrize(
    "body",
    [b"\xff=\xfe", b"csrf=a&csrf=b", b"&".join(b"f%d=1" % n for n in range(100)), b"a=%00"],
)
def test_a_form_that_cannot_be_read_is_refused(service: Service, visitor: Visitor, body: bytes) -> None:
    signed_in(service, visitor)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer: httpx.Response = visitor.http.post("/console/sign-out", content=body, headers=kind)
    assert answer.status_code == 400
    assert visitor.http.post("/console/sign-out", content=b"{}").status_code == 400
