"""The API does what its OpenAPI document says: a short look; `make fuzz-openapi` looks longer."""

import secrets
import sys
from pathlib import Path

import pytest

from support.api.page import routed
from support.fuzzing import fuzz_api, fuzz_openapi


@pytest.mark.long
def test_answers_are_as_the_document_declares(tmp_path: Path) -> None:
    seed = secrets.randbelow(2**32)
    sys.stdout.write(f"seed {seed}: make fuzz-openapi SEED={seed}\n")
    with fuzz_api.prepared(tmp_path) as (service, _, known):
        looked_at = fuzz_openapi.run(service, known, seed, 3)
    assert sorted(looked_at) == sorted(name for name, _, _ in routed())
