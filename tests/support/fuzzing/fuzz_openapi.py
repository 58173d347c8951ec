"""Schemathesis over the OpenAPI document, every request signed: what is answered is what the document declares.

`make fuzz-openapi` draws 200 requests for each operation; the suite a few of a fresh seed.
"""

import argparse
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stillhouse.clock import SystemClock
from support.api.application import Service
from support.api.client import sign
from support.fuzzing.bad_requests import Known
from support.fuzzing.fuzz_api import prepared, restore_order

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


class Signing(AuthBase):
    """Signs what is about to be sent, whatever it is."""

    def __init__(self, known: Known) -> None:
        self._known = known

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        parts = urlsplit(request.url or "")
        pairs = [part.partition("=") for part in str(parts.query).replace("+", " ").split("&") if part]
        query: Any = {unquote_to_bytes(key): unquote_to_bytes(value) for key, _, value in pairs}
        body = request.body or b""
        date = SystemClock().now().strftime("%Y%m%dT%H%M%SZ")
        request.headers["X-Sdk-Date"] = date
        request.headers["Authorization"] = sign(
            method=str(request.method),
            path=quote(unquote_to_bytes(str(parts.path)), safe="/"),
            query=query,
            headers={"X-Sdk-Date": date},
            body=body.encode() if isinstance(body, str) else body,
            access_key=self._known.access_key,
            secret_key=self._known.secret_key,
        )
        return request


def run(service: Service, known: Known, drawn: int, each: int) -> list[str]:
    """Draw `each` requests for every operation; the operations that were looked at. Raises at the first fault."""
    document = service.client.send("GET", "/openapi.json", {}).json
    schema = schemathesis.openapi.from_dict(document)
    looked_at = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        name = operation.definition.raw["operationId"]
        _check(service, known, operation, name, drawn, each)
        looked_at.append(name)
    return looked_at


def _check(service: Service, known: Known, operation: Any, name: str, drawn: int, each: int) -> None:
    auth = Signing(known)
    ids = known.ids(name)

    @seed(drawn)
    @settings(
        max_examples=each,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(), st.booleans())
    def check(case: schemathesis.Case[Any], is_known: bool) -> None:
        # A drawn project is never the key's, and a drawn id nobody's: half of the cases are to get further.
        case.path_parameters["project_id"] = known.project
        if is_known:
            for parameter in ids.keys() & case.path_parameters.keys():
                case.path_parameters[parameter] = ids[parameter]
        case.call_and_validate(base_url=service.endpoint, auth=auth, checks=_CHECKS)
        restore_order(service, known)

    check()


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the API against its OpenAPI document.")
    parser.add_argument("--each", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    sys.stdout.write(f"seed {arguments.seed}\n")
    with tempfile.TemporaryDirectory() as folder, prepared(Path(folder)) as (service, _, known):
        looked_at = run(service, known, arguments.seed, arguments.each)
    sys.stdout.write(f"{len(looked_at)} operations, {arguments.each} requests each\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
