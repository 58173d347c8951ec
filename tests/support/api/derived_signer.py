"""A signer of the signature's older form, written after gophertelekomcloud's `signer_helper.go`, not from our code."""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from stillhouse.api.gateway.signature import RawRequest

ACCESS_KEY = "FAKEACCESSKEYID00001"
SECRET_KEY = "FakeSecretKeyFakeSecretKeyFakeSecretKey1"
DATE = "20261129T121734Z"
HOST = "127.0.0.1:18099"
ROOT = "/v1.0/89cd04f168b84af6be287f71730fdb4b"


def request_of(
    method: str, url: str, headers: dict[str, str], scope: str, signed_as: str, access_key: str = ACCESS_KEY
) -> RawRequest:
    parts = urlsplit(url)
    authorization = (
        f"SDK-HMAC-SHA256 Credential={access_key}/{scope}, "
        f"SignedHeaders={';'.join(sorted(headers))}, Signature={signed_as}"
    )
    # Added after signing, as gophertelekomcloud does.
    sent = headers | {"authorization": authorization, "x-project-id": ROOT[6:]}
    wire = [(name.encode(), value.encode()) for name, value in sent.items()]
    return RawRequest(method, parts.path.encode(), parts.query.encode(), wire)


def go_escape(text: bytes, kept: str = "") -> str:
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~" + kept
    return "".join(chr(byte) if chr(byte) in plain else f"%{byte:02X}" for byte in text)


def mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signed(
    method: str,
    path: str,
    query: Sequence[tuple[str, str]],
    headers: dict[str, str],
    body: bytes | None,
    *,
    date: str = DATE,
    scope_date: str = "",
    region: str = "",
    service: str = "",
    last: str = "sdk_request",
    host: str = HOST,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
) -> RawRequest:
    headers = {**headers, "x-sdk-date": date, "host": host}
    escaped = {go_escape(name.encode()): go_escape(value.encode()) for name, value in query}
    line = "&".join(f"{name}={escaped[name]}" for name in sorted(escaped, key=str.lower))
    payload = body or b""
    if method == "POST" and body is None:
        by_name = sorted(query, key=lambda pair: pair[0].encode())
        pairs = (
            f"{go_escape(name.encode(), ' ')}={go_escape(value.encode(), ' ')}" for name, value in by_name
        )
        payload, line = "&".join(pairs).replace(" ", "+").encode(), ""
    names = ";".join(sorted(headers))
    texts = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in sorted(headers))
    place = go_escape((path if path.endswith("/") else f"{path}/").encode(), "/")
    canonical = "\n".join([method, place, line, texts, names, hashlib.sha256(payload).hexdigest()])
    scope = f"{scope_date or date[:8]}/{region}/{service}/{last}"
    lines = ["SDK-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode()).hexdigest()]
    key = mac(mac(mac(mac(b"SDK" + secret_key.encode(), scope_date or date[:8]), region), service), last)
    url = (
        go_escape(path.encode(), "/")
        + "?"
        + "&".join(f"{go_escape(n.encode())}={go_escape(v.encode())}" for n, v in query)
    )
    return request_of(method, url, headers, scope, mac(key, "\n".join(lines)).hex(), access_key)
