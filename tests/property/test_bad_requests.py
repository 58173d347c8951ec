"""No request, however wrong, is answered by a failure, by a word of the inside, or in another shape than DWS's.

`make fuzz-api` sends 100,000 of them, and watches the memory; here is a piece of it, of a fresh seed each time.
"""

import asyncio
import secrets
import sys
from functools import partial
from pathlib import Path

import pytest

from support.api.document import declared_statuses
from support.api.page import routed
from support.fuzzing import fuzz_api
from support.fuzzing.bad_requests import ANOTHER, BadRequest
from support.fuzzing.over_the_wire import wired


def test_bad_requests_are_refused_in_dws_s_shape(tmp_path: Path) -> None:
    seed = secrets.randbelow(2**32)
    sys.stdout.write(f"seed {seed}: make fuzz-api SEED={seed}\n")
    with fuzz_api.prepared(tmp_path) as (service, app, known):
        seen = asyncio.run(fuzz_api.run(service, partial(fuzz_api.send_to, app), known, tmp_path, seed, 1500))
        declared = declared_statuses(service)
    answered = {status for _, status in seen}
    assert {200, 400, 401, 404} <= answered
    undeclared = {
        (operation, status)
        for operation, status in seen
        if operation != ANOTHER and status not in declared[operation]
    }
    assert undeclared == set()
    signed_well = {operation for operation, status in seen if status in (200, 201, 202, 400, 403, 409)}
    assert signed_well >= {operation for operation, _, _ in routed()}


def test_over_tls_they_are_refused_in_dws_s_shape_too(tmp_path: Path) -> None:
    """The wire adds what the application never sees: requests that the parser of HTTP refuses."""
    seed = secrets.randbelow(2**32)
    sys.stdout.write(f"seed {seed}: make fuzz-api TLS=1 SEED={seed}\n")
    with fuzz_api.prepared(tmp_path) as (service, _, known), wired(service, tmp_path) as wire:
        seen = asyncio.run(fuzz_api.run(service, wire.send, known, tmp_path, seed, 500))
    assert {200, 400, 401, 404} <= {status for _, status in seen}


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (500, {}, b"{}"),
        (400, {b"x-request-id": b"0" * 32}, b'{"error_code": "DWS.0001"}'),
        (400, {b"x-request-id": b"0" * 31}, b"{}"),
        (400, {b"x-request-id": b"0" * 32}, b'{"x": "Traceback"}'),
        (200, {b"x-request-id": b"0" * 32}, b"[]"),
    ],
)
def test_the_judge_finds_what_it_looks_for(status: int, headers: dict[bytes, bytes], body: bytes) -> None:
    given = {b"content-type": b"application/json"} | headers
    with pytest.raises(fuzz_api.Judgement):
        fuzz_api.judge(BadRequest("GET", b"/"), status, given, body, Path("/data"))
