"""SDK-HMAC-SHA256: decides whether a request was signed by the holder of an access key, and signs. Pure.

The scheme is published with Huawei Cloud's SDKs. Where it leaves room, the stricter reading is taken:

- `SignedHeaders` must be lower case, sorted and free of repetition, as every SDK sends it; a header
  that is signed must be present exactly once, so that nobody can argue about which copy was meant.
- `X-Sdk-Content-Sha256`, when present, stands in the canonical request in place of the body's hash.
  `UNSIGNED-PAYLOAD` is accepted there; any other value must be the hash of the body that arrived.
- In a query `+` is a space, as the router (and Go's `URL.Query`) reads it; in a path it is itself.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote_to_bytes

from stillhouse.errors import Unauthenticated

ALGORITHM = "SDK-HMAC-SHA256"
SKEW = timedelta(minutes=15)

_UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^`|~-]+")
_SEPARATOR = re.compile(r"[ \t]*,[ \t]*")


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire; `headers` are ASGI's (names in lower case)."""

    method: str
    path: bytes
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Claim:
    """What a request says about its signer, not yet believed."""

    access_key: str
    date: str
    signed_headers: tuple[str, ...]
    signature: str


def the_header(request: RawRequest, name: str) -> str:
    """The header's value; Unauthenticated unless it is there exactly once."""
    values = headers_of(request, name)
    if len(values) != 1:
        raise refused(f"header {name} must be present exactly once")
    return values[0]


def headers_of(request: RawRequest, name: str) -> list[str]:
    wanted = name.encode()
    return [value.strip().decode("latin-1") for key, value in request.headers if key == wanted]


def read_claim(request: RawRequest, now: datetime) -> Claim:
    """The claim in the request's headers, if it is well formed and of this quarter of an hour."""
    scheme, _, rest = the_header(request, "authorization").partition(" ")
    if scheme != ALGORITHM:
        raise refused(f"only {ALGORITHM} is accepted in the Authorization header")
    fields = _fields(rest)
    names = tuple(fields["SignedHeaders"].split(";"))
    if list(names) != sorted(set(names)) or not all(_HEADER_NAME.fullmatch(name) for name in names):
        raise refused("SignedHeaders must be lower-case names, sorted, each once")
    if "x-sdk-date" not in names:
        raise refused("x-sdk-date is not among the signed headers")
    date = the_header(request, "x-sdk-date")
    if abs(now - _moment(date)) > SKEW:
        raise refused("calc ak sk signature fail:signature expired", who=fields["Access"][:64])
    return Claim(fields["Access"], date, names, fields["Signature"])


def verify(request: RawRequest, body_sha256: str, claim: Claim, secret_key: str) -> None:
    """Raise unless the claim's signature covers exactly this request under `secret_key`."""
    given = claim.signature.encode()
    for payload_hash in _payload_hashes(request, body_sha256):
        expected = _sign(_canonical_request(request, claim, payload_hash), claim.date, secret_key)
        if hmac.compare_digest(expected.encode(), given):
            return
    raise refused("verify aksk signature fail")


def authorization(request: RawRequest, body_sha256: str, date: str, access_key: str, secret_key: str) -> str:
    """The Authorization header of a request, all of whose headers are signed; `date` is that in `x-sdk-date`."""
    names = tuple(sorted(name.decode() for name, _ in request.headers))
    canonical = _canonical_request(request, Claim(access_key, date, names, ""), body_sha256)
    signature = _sign(canonical, date, secret_key)
    return f"{ALGORITHM} Access={access_key}, SignedHeaders={';'.join(names)}, Signature={signature}"


def _canonical_request(request: RawRequest, claim: Claim, payload_hash: str) -> bytes:
    headers = "".join(f"{name}:{the_header(request, name)}\n" for name in claim.signed_headers)
    parts = [
        request.method,
        _canonical_path(request.path),
        _canonical_query(request.query),
        headers,
        ";".join(claim.signed_headers),
        payload_hash,
    ]
    return "\n".join(parts).encode("latin-1")


def _sign(canonical_request: bytes, date: str, secret_key: str) -> str:
    to_sign = f"{ALGORITHM}\n{date}\n{hashlib.sha256(canonical_request).hexdigest()}"
    return hmac.new(secret_key.encode(), to_sign.encode(), hashlib.sha256).hexdigest()


def _canonical_path(path: bytes) -> str:
    encoded = quote(unquote_to_bytes(path), safe="/")
    return encoded if encoded.endswith("/") else encoded + "/"


def _canonical_query(query: bytes) -> str:
    pairs = []
    for part in query.replace(b"+", b" ").split(b"&"):
        if part:
            key, _, value = part.partition(b"=")
            pairs.append((unquote_to_bytes(key), unquote_to_bytes(value)))
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in sorted(pairs))


def _payload_hashes(request: RawRequest, body_sha256: str) -> tuple[str, ...]:
    """What may stand for the body: its hash or, as the SDKs differ on empty ones, either of two."""
    declared = headers_of(request, "x-sdk-content-sha256")
    if not declared:
        return (body_sha256,)
    if declared not in ([body_sha256], [_UNSIGNED_PAYLOAD]):
        raise refused("X-Sdk-Content-Sha256 is not the hash of the body")
    # The Python SDK ignores the header when there is no body; Java signs it as it stands.
    return (declared[0], _EMPTY_SHA256) if body_sha256 == _EMPTY_SHA256 else (declared[0],)


def _fields(text: str) -> dict[str, str]:
    """`Access`, `SignedHeaders` and `Signature`, in any order, commas with or without blanks."""
    parts = [part.partition("=") for part in _SEPARATOR.split(text.strip())]
    fields = {name: value for name, _, value in parts if value}
    if len(parts) != 3 or fields.keys() != {"Access", "SignedHeaders", "Signature"}:
        raise refused("the Authorization header must hold Access, SignedHeaders and Signature")
    return fields


def _moment(date: str) -> datetime:
    try:
        if _DATE.fullmatch(date):
            return datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        pass
    raise refused("X-Sdk-Date must read YYYYMMDDThhmmssZ")


def refused(why: str, who: str = "") -> Unauthenticated:
    """In the words of the cloud's gateway, of which the last part tells what was wrong."""
    return Unauthenticated(f"Incorrect IAM authentication information: {why}", who=who)
