"""SDK-HMAC-SHA256: decides whether a request was signed by the holder of an access key, and signs. Pure.

The scheme is published with Huawei Cloud's SDKs. Where it leaves room, the stricter reading is taken:

- `SignedHeaders` must be lower case, sorted and free of repetition, as every SDK sends it; a header
  that is signed must be present exactly once, so that it is clear which copy was meant.
- `X-Sdk-Content-Sha256`, when present, stands in the canonical request in place of the body's hash.
  `UNSIGNED-PAYLOAD` is accepted there; any other value must be the hash of the body that arrived.
- In a query `+` is a space, as the router (and Go's `URL.Query`) reads it; in a path it is itself.

The older form of the scheme is understood too: it names `Credential=AK/date/region/service/sdk_request` in place of
`Access`, and signs with a key derived from the secret by these parts. gophertelekomcloud signs so (`signer_helper.go`,
v0.9.4), and with it Terraform's Open Telekom Cloud provider; both leave region and service empty. In this form:

- The date of the scope is that of `X-Sdk-Date`. Region and service are covered by the signature, and mean nothing here.
- Each run of blanks in a header's value counts as one blank. Names in the query are sorted without regard to case.
- Only the first value of a repeated name in the query is signed, so no name may be repeated.
- A POST without a body may sign its query in the body's place.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, unquote_to_bytes, urlencode

from stillhouse.control.access.access_keys import ACCESS_KEY
from stillhouse.errors import Unauthenticated

ALGORITHM = "SDK-HMAC-SHA256"
SKEW = timedelta(minutes=15)

_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^`|~-]+")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")
_CREDENTIAL = re.compile(r"([^/]+)/([0-9]{8}/[\w.-]*/[\w.-]*/sdk_request)", re.ASCII)
# A name has 253 characters at most (RFC 1035), a port six with its colon.
_LONGEST_HOST = 259
_BLANKS = re.compile(r"[ \t\f]+")

_Pairs = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire; `headers` are ASGI's (names in lower case)."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Claim:
    """A request's unverified claim about its signer. `scope` (`date/region/service/sdk_request`) belongs to the older
    form, and is empty in the newer one.
    """

    access_key: str
    date: str
    signed_headers: tuple[str, ...]
    signature: str
    scope: str = ""


def the_header(request: RawRequest, name: str) -> str:
    """Return the header's value. Raises Unauthenticated unless it is there exactly once."""
    values = headers_of(request, name)
    if len(values) != 1:
        raise refused(f"header {name} must be present exactly once")
    return values[0]


def headers_of(request: RawRequest, name: str) -> list[str]:
    wanted = name.encode()
    return [value.strip().decode("latin-1") for key, value in request.headers if key == wanted]


def read_claim(request: RawRequest, now: datetime) -> Claim:
    """Read the claim in the request's headers, if it is well formed and from this quarter of an hour."""
    scheme, _, rest = the_header(request, "authorization").partition(" ")
    if scheme != ALGORITHM:
        raise refused(f"only {ALGORITHM} is accepted in the Authorization header")
    fields = _fields(rest)
    names = tuple(fields["SignedHeaders"].split(";"))
    if list(names) != sorted(set(names)) or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise refused("SignedHeaders must be lower-case names, sorted, each once")
    if "x-sdk-date" not in names:
        raise refused("x-sdk-date is not among the signed headers")
    access_key, scope = _signer(fields)
    date = the_header(request, "x-sdk-date")
    if abs(now - _moment(date)) > SKEW:
        raise refused("calc ak sk signature fail:signature expired", who=claimed_name(access_key))
    if scope and not scope.startswith(f"{date[:8]}/"):
        raise refused("the date of Credential is not that of X-Sdk-Date", who=claimed_name(access_key))
    return Claim(access_key, date, names, fields["Signature"], scope)


def verify(request: RawRequest, body_sha256: str, claim: Claim, secret_key: str) -> None:
    """Raise unless the claim's signature covers exactly this request under `secret_key`."""
    given = claim.signature.encode()
    for query, payload_hash in _query_and_payload(request, body_sha256, claim):
        expected = _sign(_canonical_request(request, claim, query, payload_hash), claim, secret_key)
        if hmac.compare_digest(expected.encode(), given):
            return
    raise mismatch(request, claim)


def mismatch(request: RawRequest, claim: Claim) -> Unauthenticated:
    """Make the refusal of a signature. It names the signed Host as it arrived, since proxies change it.

    The words are the request's own, so they tell a stranger nothing.
    """
    why = "verify aksk signature fail"
    if "host" in claim.signed_headers:
        seen = the_header(request, "host")[:_LONGEST_HOST]
        why += f"; the service saw the signed header Host: {ascii(seen)[1:-1]}"
    return refused(why)


def authorization(request: RawRequest, body_sha256: str, date: str, access_key: str, secret_key: str) -> str:
    """Return a request's Authorization header, which signs all its headers; `date` is that in `x-sdk-date`."""
    names = tuple(sorted(name.decode() for name, _ in request.headers))
    claim = Claim(access_key, date, names, "")
    canonical = _canonical_request(request, claim, _canonical_query(request.query), body_sha256)
    signature = _sign(canonical, claim, secret_key)
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _canonical_request(request: RawRequest, claim: Claim, query: str, payload_hash: str) -> bytes:
    values = [the_header(request, name) for name in claim.signed_headers]
    if claim.scope:
        values = [_BLANKS.sub(" ", value) for value in values]
    parts = [
        request.method,
        _canonical_path(request.path),
        query,
        "".join(f"{name}:{value}\n" for name, value in zip(claim.signed_headers, values, strict=True)),
        ";".join(claim.signed_headers),
        payload_hash,
    ]
    return "\n".join(parts).encode("latin-1")


def _sign(canonical_request: bytes, claim: Claim, secret_key: str) -> str:
    hashed = hashlib.sha256(canonical_request).hexdigest()
    lines = [ALGORITHM, claim.date, claim.scope, hashed] if claim.scope else [ALGORITHM, claim.date, hashed]
    key = _derived_key(claim.scope, secret_key) if claim.scope else secret_key.encode()
    return hmac.new(key, "\n".join(lines).encode(), hashlib.sha256).hexdigest()


def _derived_key(scope: str, secret_key: str) -> bytes:
    key = f"SDK{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical_path(path: bytes) -> str:
    encoded = quote(unquote_to_bytes(path), safe="/")
    return encoded if encoded.endswith("/") else encoded + "/"


def _query_and_payload(request: RawRequest, body_sha256: str, claim: Claim) -> list[tuple[str, str]]:
    """Return the canonical queries that an honest signer may have signed, each with its hash of the body."""
    payload_hashes = _payload_hashes(request, body_sha256)
    if not claim.scope:
        return [(_canonical_query(request.query), payload_hash) for payload_hash in payload_hashes]
    pairs = _pairs(request.query)
    query = _canonical_query_without_case(pairs)
    signable = [(query, payload_hash) for payload_hash in payload_hashes]
    if request.method == "POST" and body_sha256 == _EMPTY_SHA256:
        # No JSON document reads like an encoded query, so no request with a body can be turned into one without.
        signable.append(("", hashlib.sha256(urlencode(sorted(pairs)).encode()).hexdigest()))
    return signable


def _canonical_query(query: bytes) -> str:
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(_pairs(query)))


def _canonical_query_without_case(pairs: _Pairs) -> str:
    quoted = sorted(
        (quote(key, safe="").lower(), quote(key, safe=""), quote(value, safe="")) for key, value in pairs
    )
    if len({folded for folded, _, _ in quoted}) < len(quoted):
        raise refused("a signature with Credential covers no query in which a name is repeated")
    return "&".join(f"{key}={value}" for _, key, value in quoted)


def _pairs(query: bytes) -> _Pairs:
    parts = [part.partition(b"=") for part in query.replace(b"+", b" ").split(b"&") if part]
    return [(unquote_to_bytes(key), unquote_to_bytes(value)) for key, _, value in parts]


def _payload_hashes(request: RawRequest, body_sha256: str) -> tuple[str, ...]:
    """Return the hashes that may stand for the body: its own or, since SDKs differ on empty bodies, either of two."""
    declared = headers_of(request, "x-sdk-content-sha256")
    if not declared:
        return (body_sha256,)
    if declared not in ([body_sha256], [_UNSIGNED_PAYLOAD]):
        raise refused("X-Sdk-Content-Sha256 is not the hash of the body")
    # The Python SDK ignores the header when there is no body; Java signs it as it stands.
    return (declared[0], _EMPTY_SHA256) if body_sha256 == _EMPTY_SHA256 else (declared[0],)


def _fields(text: str) -> dict[str, str]:
    """Parse `Access` or `Credential`, `SignedHeaders` and `Signature`, in any order, commas with or without blanks."""
    parts = [part.partition("=") for part in _SEPARATOR.split(text.strip())]
    fields = {name: value for name, _, value in parts if value}
    is_whole = len(parts) == len(fields) == 3
    if not is_whole or fields.keys() - {"Access", "Credential"} != {"SignedHeaders", "Signature"}:
        raise refused("the Authorization header must hold Access or Credential, SignedHeaders and Signature")
    return fields


def _signer(fields: dict[str, str]) -> tuple[str, str]:
    """Return the access key, and the older form's scope."""
    if "Access" in fields:
        return fields["Access"], ""
    credential = _CREDENTIAL.fullmatch(fields["Credential"])
    if credential is None:
        raise refused("Credential must read AK/YYYYMMDD/region/service/sdk_request")
    return credential[1], credential[2]


def _moment(date: str) -> datetime:
    try:
        if _DATE.fullmatch(date):
            return datetime.fromisoformat(date)
    except ValueError:
        pass
    raise refused("X-Sdk-Date must read YYYYMMDDThhmmssZ")


def claimed_name(access_key: str) -> str:
    """Return the claimed key for the audit. Another text could be the name of a user, who has sent nothing."""
    return access_key if ACCESS_KEY.fullmatch(access_key) else ""


def refused(why: str, who: str = "") -> Unauthenticated:
    """Make the refusal in the words of the cloud's gateway; the last part names the fault."""
    return Unauthenticated(f"Incorrect IAM authentication information: {why}", who=who)
