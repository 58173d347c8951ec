"""A caller of the API with a signer of its own, written from the published scheme and not from ours."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def error_code(self) -> str:
        code = self.json["error_code"]
        assert isinstance(code, str)
        return code


def sign(
    *,
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    access_key: str,
    secret_key: str,
) -> str:
    """The Authorization header of a request whose path is already percent-encoded, and plain."""
    ordered = sorted((name.lower(), value.strip()) for name, value in headers.items())
    names = ";".join(name for name, _ in ordered)
    canonical = (
        f"{method}\n{path}/\n"
        + "&".join(f"{quote(key, safe='')}={quote(query[key], safe='')}" for key in sorted(query))
        + "\n"
        + "".join(f"{name}:{value}\n" for name, value in ordered)
        + f"\n{names}\n{hashlib.sha256(body).hexdigest()}"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    message = f"SDK-HMAC-SHA256\n{headers['X-Sdk-Date']}\n{digest}"
    mac = hmac.new(secret_key.encode(), message.encode(), hashlib.sha256).hexdigest()
    return f"SDK-HMAC-SHA256 Access={access_key}, SignedHeaders={names}, Signature={mac}"


@dataclass(frozen=True)
class SignedClient:
    endpoint: str
    project: str
    access_key: str
    secret_key: str
    http: httpx.Client

    @property
    def environment(self) -> dict[str, str]:
        """What a command, or an SDK, takes from its environment to ask as this caller."""
        return {
            "STILLHOUSE_ENDPOINT": self.endpoint,
            "STILLHOUSE_PROJECT": self.project,
            "CLOUD_SDK_AK": self.access_key,
            "CLOUD_SDK_SK": self.secret_key,
        }

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        query: Mapping[str, str] | None = None,
        content_type: str | None = "application/json;charset=UTF-8",
        now: datetime | None = None,
        host_signed: bool = True,
        signed: Mapping[str, str] | None = None,
        unsigned: Mapping[str, str] | None = None,
    ) -> Answer:
        """`{p}` in the path stands for the client's project; `signed` headers are covered by the signature."""
        path = path.replace("{p}", self.project)
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        headers = {"X-Sdk-Date": (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ"), **(signed or {})}
        if host_signed:
            headers["Host"] = urlsplit(self.endpoint).netloc
        if content_type and method != "GET":
            headers["Content-Type"] = content_type
        headers["Authorization"] = sign(
            method=method,
            path=path,
            query=query or {},
            headers=headers,
            body=content,
            access_key=self.access_key,
            secret_key=self.secret_key,
        )
        return self.send(method, path, headers | dict(unsigned or {}), content, query)

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes = b"",
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send exactly this, signed or not."""
        response = self.http.request(
            method, self.endpoint + path, params=query, headers=dict(headers), content=content
        )
        return Answer(response.status_code, response.headers, response.content)
