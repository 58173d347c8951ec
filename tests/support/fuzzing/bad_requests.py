"""Requests that are wrong in one way or several, drawn from a seed; most are signed well, so that they go deep."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from support.api.application import PASSWORD
from support.api.client import sign
from support.api.page import routed
from support.api.tour import NEEDS_SERVERS, a_table_restore

# Where all wrong secrets come from: there the key is locked, and the lock is met as well.
LOCKED = "127.0.0.1"
UNKNOWN = "c2a3e9b0-50f4-4d6d-8a44-7e9f1b0d2c35"
# Stands for the operation where the method is another one, and so may the operation be.
ANOTHER = "another"
_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", "TRACE", "X" * 40]
_WORDS = [
    "",
    " ",
    "a",
    "é",
    "名",
    "\0",
    "\ud800",
    "'",
    '"',
    "../..",
    "%00",
    "<b>",
    "null",
    "-1",
    "0",
    "1e9",
    "{x}",
    "🙂",
    "\r\n",
]
_QUERY_NAMES = [
    "limit",
    "offset",
    "sort_key",
    "sort_dir",
    "type",
    "az_code",
    "namespace",
    "database",
    "schema",
    "name",
]
_QUERY_NAMES += [
    "keywords",
    "fine_grained_restore",
    "keep_last_manual_backup",
    "release_eip_type",
    "enterprise_project_id",
]


@dataclass
class BadRequest:
    """As it goes over the wire: the path percent-encoded, the query raw, header names in lower case."""

    method: str
    path: bytes
    query: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    chunks: list[bytes] = field(default_factory=list)
    operation: str = ""
    address: str = ""


@dataclass(frozen=True)
class Known:
    """What the service under test has; of its two clusters, `stopped` is for what would ask their servers."""

    project: str
    access_key: str
    secret_key: str
    cluster: str
    stopped: str
    snapshot: str
    stopped_snapshot: str

    def ids(self, operation: str) -> dict[str, str]:
        """What stands for the ids in an operation's path."""
        is_asking = operation in NEEDS_SERVERS
        return {
            "project_id": self.project,
            "cluster_id": self.stopped if is_asking else self.cluster,
            "snapshot_id": self.stopped_snapshot if is_asking else self.snapshot,
        }


class Generator:
    def __init__(self, seed: int, known: Known) -> None:
        self._random = random.Random(seed)
        self._known = known
        self._routes = sorted(routed())

    def __call__(self) -> BadRequest:
        pick = self._random
        operation, routed_method, template = pick.choice(self._routes)
        method = routed_method
        if pick.random() < 0.08:
            method = pick.choice(_METHODS)
        path = self._path(template, operation)
        body = self._body(operation) if method in ("POST", "PUT", "DELETE") or pick.random() < 0.1 else b""
        label = operation if method == routed_method else ANOTHER
        # A key is locked where its signatures were wrong: one address for all would soon shut them all out.
        address = f"10.{pick.randrange(256)}.{pick.randrange(256)}.{pick.randrange(256)}"
        request = BadRequest(method, path, self._query(), [], [body], label, address)
        request.headers = self._signed(request, body)
        for fault in pick.choices(self._faults(), weights=[60, *[3] * (len(self._faults()) - 1)], k=1):
            fault(request)
        return request

    # --- paths and queries --------------------------------------------------------------------------

    def _path(self, template: str, operation: str) -> bytes:
        pick, known = self._random, self._known
        good = known.ids(operation)
        parts = []
        for part in template.split("/"):
            if not part.startswith("{"):
                parts.append(part if pick.random() < 0.99 else self._junk_segment())
            elif part[1:-1] == "project_id":
                parts.append(known.project if pick.random() < 0.97 else self._junk_segment())
            elif pick.random() < 0.6:
                parts.append(
                    good.get(part[1:-1], pick.choice(["0" * 32, "SNAPSHOTTING", "gaussdb", UNKNOWN]))
                )
            else:
                parts.append(pick.choice([UNKNOWN, UNKNOWN.upper(), self._junk_segment()]))
        return "/".join(parts).encode()

    def _junk_segment(self) -> str:
        pick = self._random
        raw = bytes(pick.randrange(256) for _ in range(pick.randrange(1, 40)))
        text = pick.choice(_WORDS).encode("utf-8", "surrogatepass")
        return quote(pick.choice([raw, text, b"a" * pick.randrange(1, 300)]), safe=pick.choice(["", "!*'()"]))

    def _query(self) -> bytes:
        pick = self._random
        if pick.random() < 0.6:
            return b""
        pairs = []
        for _ in range(pick.randrange(1, 5)):
            name = pick.choice(_QUERY_NAMES) if pick.random() < 0.9 else self._junk_segment()
            known = [
                "1",
                "asc",
                "started",
                "schema",
                "SCHEMA",
                "dws",
                "true",
                "9" * 30,
                "-1",
                "1.5",
                "%00",
                "%ff",
                "+",
            ]
            value = pick.choice(known) if pick.random() < 0.7 else self._junk_segment()
            pairs.append(f"{name}={value}" if pick.random() < 0.95 else name)
        return pick.choice(["&", "&&", ";"]).join(pairs).encode()

    # --- bodies -------------------------------------------------------------------------------------

    def _good_body(self, operation: str) -> Any:
        cluster = {"name": "fuzz-dw", "number_of_node": 2, "node_type": "x", "vpc_id": "v", "subnet_id": "s"}
        user = {"user_name": "dbadmin", "user_pwd": PASSWORD}
        tags = {"tags": [{"key": "k", "value": "v"}]}
        newer = {
            "name": "fuzz-dw",
            "flavor": "x",
            "num_node": 2,
            "availability_zones": ["a"],
            "vpc_id": "v",
            "subnet_id": "s",
        }
        newer |= {"datastore_version": "1", "tags": tags["tags"], "volume": {"volume": "SSD", "capacity": 1}}
        return {
            "CreateSnapshot": {
                "snapshot": {"name": "fuzz", "cluster_id": self._known.cluster, "description": "d"}
            },
            "RestoreCluster": {
                "restore": {"name": "fuzz-dw", "port": 8000, "public_ip": {"public_bind_type": "not_use"}}
            },
            "CheckSnapshot": {"snapshot_name": "fuzz"},
            "CreateCluster": {"cluster": cluster | user | tags},
            "CreateClusterV2": {
                "cluster": newer | {"db_name": "dbadmin", "db_password": PASSWORD, "db_port": 8000}
            },
            "CheckCluster": {
                "cluster": newer | {"db_port": "8000", "restore_point": {"back_ref": self._known.snapshot}}
            },
            "DeleteCluster": {"keep_last_manual_snapshot": 0},
            "BatchCreateResourceTag": tags,
            "BatchDeleteResourceTag": tags,
            "CreateClusterTag": {"tag": tags["tags"][0]},
            "BatchCreateClusterTags": tags | {"action": "delete"},
            "ModifyClusterName": {"cluster_name": "fuzz-renamed"},
            "SaveClusterDescriptionInfo": {"description_info": "d"},
            "ModifyClusterTimezone": {"cluster_timezone": "UTC"},
            "EnableLogicalCluster": {"enable": True},
            "ValidateDbData": {"type": "schema", "data": ["public"]},
            "CheckTableRestore": a_table_restore(),
            "RestoreTable": a_table_restore(),
            **self._good_bodies_of_policies(),
            **self._good_bodies_of_iam(),
            "CollectCluster": {"dry_run": False},
            "SetProofSchedule": {"every_days": 7, "newest_only": True},
        }.get(operation, {})

    def _good_bodies_of_policies(self) -> dict[str, Any]:
        strategy: dict[str, Any] = {
            "policy_id": UNKNOWN,
            "policy_name": "fuzz-policy",
            "backup_strategy": "0 0 2 ? * *",
        }
        strategy |= {"backup_type": "full", "backup_level": "cluster", "time_zone_offset": 1}
        if self._random.random() < 0.5:
            del strategy["policy_id"]
        policies = {"keep_day": 7, "auto_backup": True, "device_name": "OBS", "backup_strategies": [strategy]}
        return {
            "CreateSnapshotPolicy": policies,
            "CopySnapshot": {"backup_name": "fuzz-copy", "description": "d"},
        }

    def _good_bodies_of_iam(self) -> dict[str, Any]:
        user = {"name": "fuzz", "password": PASSWORD, "domain": {"name": self._known.project}}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": "local-1"}}
        statement = {"Effect": "Allow", "Action": ["dws:*:list*"]}
        narrowed = {"Version": "1.1", "Statement": [statement]}
        asked = {"methods": ["token"], "token": {"duration_seconds": 900}, "policy": narrowed}
        return {
            "KeystoneCreateUserTokenByPassword": {"auth": {"identity": identity, "scope": scope}},
            "CreateTemporaryAccessKeyByToken": {"auth": {"identity": asked}},
        }

    def _body(self, operation: str) -> bytes:
        pick = self._random
        document = self._good_body(operation)
        for _ in range(pick.randrange(1, 4)):
            document = self._mutated(document)
        raw = json.dumps(document, ensure_ascii=pick.random() < 0.5).encode("utf-8", "surrogatepass")
        match pick.randrange(12):
            case 0:
                return raw[: pick.randrange(len(raw) + 1)]
            case 1:
                return bytes(
                    byte ^ (1 << pick.randrange(8)) if pick.random() < 0.05 else byte for byte in raw
                )
            case 2:
                return bytes(pick.randrange(256) for _ in range(pick.randrange(200)))
            case 3:
                return pick.choice(
                    [
                        b"",
                        b"{",
                        b"[" * 20_000,
                        b'{"a":' * 20_000,
                        b"9" * 6000,
                        raw + raw,
                        b"\xef\xbb\xbf" + raw,
                    ]
                )
        return raw

    def _mutated(self, document: Any) -> Any:
        """One place of it changed: something else put there, taken away or added."""
        pick = self._random
        if isinstance(document, dict) and document and pick.random() < 0.85:
            key = pick.choice([*document])
            changed = dict(document)
            if pick.random() < 0.12:
                del changed[key]
            elif pick.random() < 0.1:
                changed[pick.choice(_WORDS)] = self._value()
            else:
                changed[key] = self._mutated(document[key])
            return changed
        if isinstance(document, list) and document and pick.random() < 0.7:
            return [self._mutated(document[0]), *document[1:]] * pick.randrange(1, 3)
        return self._value()

    def _value(self) -> Any:
        pick = self._random
        numbers = [0, -1, 1, 2**31, 2**63, 10**40, 1.5, 1e308, 8000, 256]
        text = pick.choice(_WORDS) * pick.choice([1, 1, 5, 300])
        return pick.choice(
            [None, True, False, [], {}, [None], {"a": {}}, text, text, UNKNOWN, pick.choice(numbers)]
        )

    # --- headers, signatures, sizes -----------------------------------------------------------------

    def _signed(
        self, request: BadRequest, body: bytes, *, secret_key: str = "", minutes: int = 0
    ) -> list[tuple[bytes, bytes]]:
        date = datetime.now(UTC) + timedelta(minutes=minutes)
        headers = {"X-Sdk-Date": date.strftime("%Y%m%dT%H%M%SZ")}
        signature = _sign(request, headers, body, self._known, secret_key)
        sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        if self._random.random() < 0.9:
            sent.append((b"content-type", b"application/json;charset=UTF-8"))
        return [*sent, (b"authorization", signature.encode()), (b"content-length", str(len(body)).encode())]

    def _faults(self) -> list[Callable[[BadRequest], None]]:
        pick = self._random

        def none(request: BadRequest) -> None:
            pass

        def wrong_secret(request: BadRequest) -> None:
            request.headers = self._signed(request, request.chunks[0], secret_key="0" * 40)
            request.address = LOCKED

        def stale(request: BadRequest) -> None:
            request.headers = self._signed(request, request.chunks[0], minutes=pick.choice([-16, 16, 10**6]))

        def altered(request: BadRequest) -> None:
            request.chunks = [request.chunks[0] + b" "]

        def junk_header(request: BadRequest) -> None:
            name = pick.choice(
                [b"authorization", b"x-sdk-date", b"content-type", b"x-sdk-content-sha256", b"x-language"]
            )
            value = bytes(pick.randrange(32, 256) for _ in range(pick.randrange(80)))
            request.headers = [one for one in request.headers if one[0] != name or pick.random() < 0.3]
            request.headers.append((name, value))

        def altered_header(request: BadRequest) -> None:
            at = pick.randrange(len(request.headers))
            name, value = request.headers[at]
            where = pick.randrange(len(value) + 1)
            request.headers[at] = (name, value[:where] + bytes([pick.randrange(256)]) + value[where + 1 :])

        def dropped_header(request: BadRequest) -> None:
            del request.headers[pick.randrange(len(request.headers))]

        def doubled_header(request: BadRequest) -> None:
            request.headers.append(pick.choice(request.headers))

        def token(request: BadRequest) -> None:
            request.headers.append(
                (pick.choice([b"x-auth-token", b"x-security-token"]), b"t" * pick.randrange(200))
            )

        def large(request: BadRequest) -> None:
            match pick.randrange(4):
                case 0:
                    request.path += b"a" * 33_000
                case 1:
                    request.query += b"&limit=" + b"1" * 33_000
                case 2:
                    request.headers.append((b"x-language", b"e" * 33_000))
                case 3:
                    request.headers += [(b"x-h%d" % number, b"v" * 9_000) for number in range(16)]

        def huge_body(request: BadRequest) -> None:
            if pick.random() < 0.02:  # twelve megabytes at a time would make it a test of the memory bus
                request.headers = [one for one in request.headers if one[0] != b"content-length"]
                request.chunks = [b" " * 2**20] * 13

        def chunked(request: BadRequest) -> None:
            body = request.chunks[0]
            cut = pick.randrange(len(body) + 1)
            request.chunks = [body[:cut], body[cut:], b""]
            request.headers = [one for one in request.headers if one[0] != b"content-length"]

        def content_type(request: BadRequest) -> None:
            kinds = [
                b"text/plain",
                b"application/json;charset=utf-16",
                b"multipart/form-data",
                b";;",
                b"",
                b"\xff",
            ]
            request.headers = [one for one in request.headers if one[0] != b"content-type"]
            request.headers.append((b"content-type", pick.choice(kinds)))

        return [
            none,
            wrong_secret,
            stale,
            altered,
            junk_header,
            altered_header,
            dropped_header,
            doubled_header,
            token,
            large,
            huge_body,
            chunked,
            content_type,
        ]


def _sign(request: BadRequest, headers: dict[str, str], body: bytes, known: Known, secret_key: str) -> str:
    """A right signature, but for a query with the same key twice: the simple signer knows none."""
    pairs = [part.partition(b"=") for part in request.query.replace(b"+", b" ").split(b"&") if part]
    query: Any = {unquote_to_bytes(key): unquote_to_bytes(value) for key, _, value in pairs}
    return sign(
        method=request.method,
        path=quote(unquote_to_bytes(request.path), safe="/"),
        query=query,
        headers=headers,
        body=body,
        access_key=known.access_key,
        secret_key=secret_key or known.secret_key,
    )
