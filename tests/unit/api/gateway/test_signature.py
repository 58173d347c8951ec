"""SDK-HMAC-SHA256 against four requests recorded from the SDKs, and against every way to alter them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.api.gateway import signature
from stillhouse.api.gateway.signature import RawRequest
from stillhouse.errors import Unauthenticated

ACCESS_KEY = "FAKEACCESSKEYID00001"
SECRET_KEY = "FakeSecretKeyFakeSecretKeyFakeSecretKey1"
PROJECT = "89cd04f168b84af6be287f71730fdb4b"
APP = "app/019cb3ff-6e2c-43f4-a7f4-e112d9bd5899"
JAVA = (
    "huaweicloud-usdk-java/3.0; os/Linux#6.18.44-fc-v669#amd64 java/Debian#17.0.15 "
    f"vm/OpenJDK_64-Bit_Server_VM#17.0.15+6-Debian-1deb12u1; {APP}"
)
PYTHON = (
    "huaweicloud-usdk-python/3.0; os/Linux##1_SMP_PREEMPT_DYNAMIC_@0#x86_64 "
    f"python/3.11.7 impl/CPython; {APP}"
)
HOST = "127.0.0.1:18099"


@dataclass(frozen=True)
class Vector:
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: str
    signature: str

    @property
    def now(self) -> datetime:
        return datetime.strptime(self.headers["x-sdk-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    def request(self) -> RawRequest:
        authorization = (
            f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, "
            f"SignedHeaders={';'.join(sorted(self.headers))}, Signature={self.signature}"
        )
        headers = self.headers | {"accept": "*/*", "authorization": authorization}
        return RawRequest(
            self.method,
            self.path.encode(),
            self.query.encode(),
            [(name.encode(), value.encode()) for name, value in headers.items()],
        )


PYTHON_CREATE = Vector(
    "POST",
    f"/v1.0/{PROJECT}/snapshots",
    "",
    {
        "content-type": "application/json;charset=utf-8",
        "host": HOST,
        "user-agent": PYTHON,
        "x-project-id": PROJECT,
        "x-sdk-date": "20261123T080606Z",
    },
    '{"snapshot": {"name": "snapshot-3", "cluster_id": "44b277eb-39be-4921-be31-3d61b43651d7", '
    '"description": "Snapshot-3 description"}}',
    "13e74b6be90f51043ef60532ab3a99f0f13dcf352455f932da10d02143d42521",
)
JAVA_LIST = Vector(
    "GET",
    f"/v1.0/{PROJECT}/clusters/c%201~*+%C3%A9/snapshots",
    "limit=10&offset=0&sort_key=started%20at&sort_dir=desc",
    {"host": HOST, "user-agent": JAVA, "x-project-id": PROJECT, "x-sdk-date": "20261123T081006Z"},
    "",
    "299587029a3a2afa15bd004a6a14fc130c20148638e26866ccce5ae4d072596d",
)
JAVA_CREATE = Vector(
    "POST",
    f"/v1.0/{PROJECT}/snapshots",
    "",
    JAVA_LIST.headers,
    '{"snapshot":{"name":"snapshot-3","cluster_id":"44b277eb-39be-4921-be31-3d61b43651d7",'
    '"description":"Snapshot-3 description"}}',
    "df3705270bdd2aeab91ddf703012d4f9702948eca9a6ab5198ca9cabfc2c190e",
)
JAVA_IAM = Vector(
    "GET",
    "/v3/projects",
    "name=local-1",
    {"host": HOST, "user-agent": "huaweicloud-usdk-java/3.0", "x-sdk-date": "20261123T081007Z"},
    "",
    "1ee00a0a7d77752da70c0d5318e2ed060408cdde1fc70c51a59102d0a13eb2c0",
)
VECTORS = {
    "python-create": PYTHON_CREATE,
    "java-list": JAVA_LIST,
    "java-create": JAVA_CREATE,
    "java-iam": JAVA_IAM,
}
every_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())


def accept(request: RawRequest, body: bytes, now: datetime, secret_key: str = SECRET_KEY) -> None:
    claim = signature.read_claim(request, now)
    if claim.access_key != ACCESS_KEY:
        raise Unauthenticated("no such key")
    signature.verify(request, hashlib.sha256(body).hexdigest(), claim, secret_key)


def is_accepted(request: RawRequest, body: bytes, now: datetime) -> bool:
    try:
        accept(request, body, now)
    except Unauthenticated:
        return False
    return True


def with_header(request: RawRequest, name: str, change: Callable[[str], str]) -> RawRequest:
    """The request with one header's value changed, or with the header added if it is absent."""
    headers = {key.decode(): value.decode() for key, value in request.headers}
    headers[name] = change(headers.get(name, ""))
    return replace(request, headers=[(key.encode(), value.encode()) for key, value in headers.items()])


def resigned(vector: Vector, body: bytes, **more_headers: str) -> RawRequest:
    """The vector's request with other headers and body, signed anew by the code under test."""
    signed = replace(vector, headers=vector.headers | more_headers).request()
    claim = signature.read_claim(signed, vector.now)
    declared = more_headers.get("x-sdk-content-sha256", hashlib.sha256(body).hexdigest())
    query = signature._canonical_query(signed.query)
    right = signature._sign(signature._canonical_request(signed, claim, query, declared), claim, SECRET_KEY)
    return with_header(signed, "authorization", lambda text: text.replace(vector.signature, right))


@every_vector
def test_a_recorded_request_is_accepted(vector: Vector) -> None:
    accept(vector.request(), vector.body.encode(), vector.now)


@every_vector
def test_another_secret_is_refused(vector: Vector) -> None:
    with pytest.raises(Unauthenticated, match="verify aksk signature fail"):
        accept(vector.request(), vector.body.encode(), vector.now, SECRET_KEY[:-1] + "2")


@every_vector
def test_no_byte_of_path_query_or_body_can_change(vector: Vector) -> None:
    request, body = vector.request(), vector.body.encode()
    for place in range(len(request.path)):
        altered = replace(request, path=_changed(request.path, place))
        assert not is_accepted(altered, body, vector.now), altered.path
    for place in range(len(request.query)):
        altered = replace(request, query=_changed(request.query, place))
        assert not is_accepted(altered, body, vector.now), altered.query
    for place in range(len(body)):
        assert not is_accepted(request, _changed(body, place), vector.now)
    assert not is_accepted(request, body + b"\n", vector.now)
    assert not is_accepted(replace(request, method="PUT"), body, vector.now)


@every_vector
def test_no_byte_of_a_signed_header_or_of_the_claim_can_change(vector: Vector) -> None:
    request, body = vector.request(), vector.body.encode()
    for index, (name, value) in enumerate(request.headers):
        if name == b"accept":
            continue
        for place in range(len(value)):
            headers = list(request.headers)
            headers[index] = (name, _changed(value, place))
            assert not is_accepted(replace(request, headers=headers), body, vector.now), headers[index]


def _changed(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@given(data=st.data())
def test_any_other_byte_anywhere_in_the_body_is_refused(data: st.DataObject) -> None:
    body = PYTHON_CREATE.body.encode()
    place = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != body[place]))
    altered = body[:place] + bytes([byte]) + body[place + 1 :]
    assert not is_accepted(PYTHON_CREATE.request(), altered, PYTHON_CREATE.now)


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=200))
def test_any_authorization_header_is_refused_and_breaks_nothing(text: str) -> None:
    request = PYTHON_CREATE.request()
    headers = [(name, value) for name, value in request.headers if name != b"authorization"]
    headers.append((b"authorization", text.encode("latin-1")))
    assert not is_accepted(replace(request, headers=headers), b"", PYTHON_CREATE.now)


@pytest.mark.parametrize("minutes", [-14, 14, -15, 15])
def test_a_clock_a_quarter_of_an_hour_off_is_forgiven(minutes: int) -> None:
    now = PYTHON_CREATE.now + timedelta(minutes=minutes)
    assert is_accepted(PYTHON_CREATE.request(), PYTHON_CREATE.body.encode(), now)


@pytest.mark.parametrize("off", [timedelta(minutes=-16), timedelta(minutes=16), timedelta(seconds=901)])
def test_a_clock_further_off_is_refused(off: timedelta) -> None:
    with pytest.raises(Unauthenticated, match="signature expired"):
        signature.read_claim(PYTHON_CREATE.request(), PYTHON_CREATE.now + off)


@pytest.mark.parametrize(
    "algorithm",
    ["SDK-HMAC-SM3", "SDK-ECDSA-P256-SHA256", "SDK-SM2-SM3", "V11-HMAC-SHA256", "sdk-hmac-sha256", "Basic"],
)
def test_another_algorithm_is_refused(algorithm: str) -> None:
    request = with_header(
        PYTHON_CREATE.request(), "authorization", lambda text: text.replace("SDK-HMAC-SHA256", algorithm)
    )
    with pytest.raises(Unauthenticated, match="only SDK-HMAC-SHA256"):
        signature.read_claim(request, PYTHON_CREATE.now)


@pytest.mark.parametrize("separator", [",", " , ", ",  ", "\t,\t"])
def test_blanks_around_the_commas_do_not_matter(separator: str) -> None:
    request = with_header(
        PYTHON_CREATE.request(), "authorization", lambda text: text.replace(", ", separator)
    )
    assert is_accepted(request, PYTHON_CREATE.body.encode(), PYTHON_CREATE.now)


def test_fields_of_the_claim_may_come_in_any_order() -> None:
    scheme, fields = PYTHON_CREATE.request().headers[-1][1].decode().split(" ", 1)
    swapped = f"{scheme} {', '.join(reversed(fields.split(', ')))}"
    request = with_header(PYTHON_CREATE.request(), "authorization", lambda _: swapped)
    assert is_accepted(request, PYTHON_CREATE.body.encode(), PYTHON_CREATE.now)


@pytest.mark.parametrize(
    "names",
    ["host;user-agent", "x-sdk-date;host", "Host;x-sdk-date", "x-sdk-date;x-sdk-date", "x-sdk-date;", "é"],
)
def test_signed_headers_must_be_sorted_lower_case_single_and_name_the_date(names: str) -> None:
    request = with_header(
        PYTHON_CREATE.request(),
        "authorization",
        lambda text: text.replace(";".join(sorted(PYTHON_CREATE.headers)), names),
    )
    with pytest.raises(Unauthenticated, match=r"SignedHeaders|x-sdk-date"):
        signature.read_claim(request, PYTHON_CREATE.now)


@pytest.mark.parametrize("name", [b"x-project-id", b"x-sdk-date", b"authorization"])
def test_a_header_that_counts_must_be_there_exactly_once(name: bytes) -> None:
    request = PYTHON_CREATE.request()
    value = dict(request.headers)[name]
    missing = replace(request, headers=[header for header in request.headers if header[0] != name])
    twice = replace(request, headers=[*request.headers, (name, value)])
    assert not is_accepted(missing, PYTHON_CREATE.body.encode(), PYTHON_CREATE.now)
    assert not is_accepted(twice, PYTHON_CREATE.body.encode(), PYTHON_CREATE.now)


@pytest.mark.parametrize(
    "date", ["", "20261123", "2026-11-23T08:06:06Z", "20261323T080606Z", "20261123T0806O6Z"]
)
def test_a_malformed_date_is_refused(date: str) -> None:
    request = with_header(PYTHON_CREATE.request(), "x-sdk-date", lambda _: date)
    with pytest.raises(Unauthenticated, match="YYYYMMDDThhmmssZ"):
        signature.read_claim(request, PYTHON_CREATE.now)


def test_the_order_of_the_query_does_not_matter() -> None:
    swapped = replace(JAVA_LIST.request(), query=b"sort_dir=desc&sort_key=started+at&offset=0&limit=10")
    assert is_accepted(swapped, b"", JAVA_LIST.now)


def test_a_declared_payload_hash_must_be_the_body_s() -> None:
    body = b'{"a": 1}'
    honest = resigned(PYTHON_CREATE, body, **{"x-sdk-content-sha256": hashlib.sha256(body).hexdigest()})
    accept(honest, body, PYTHON_CREATE.now)
    with pytest.raises(Unauthenticated, match="not the hash of the body"):
        accept(honest, b'{"a": 2}', PYTHON_CREATE.now)


def test_an_unsigned_payload_must_be_declared_by_the_signer() -> None:
    body = b"anything"
    request = resigned(PYTHON_CREATE, body, **{"x-sdk-content-sha256": "UNSIGNED-PAYLOAD"})
    accept(request, body, PYTHON_CREATE.now)
    added_on_the_way = with_header(
        PYTHON_CREATE.request(), "x-sdk-content-sha256", lambda _: "UNSIGNED-PAYLOAD"
    )
    assert not is_accepted(added_on_the_way, PYTHON_CREATE.body.encode(), PYTHON_CREATE.now)


def test_an_empty_body_may_be_signed_as_empty_beside_the_declaration() -> None:
    """The Python SDK declares an unsigned payload and then signs the empty body's hash."""
    declared = with_header(JAVA_LIST.request(), "x-sdk-content-sha256", lambda _: "UNSIGNED-PAYLOAD")
    accept(declared, b"", JAVA_LIST.now)
    assert not is_accepted(declared, b"x", JAVA_LIST.now)
