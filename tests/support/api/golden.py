"""Examples of the API's answers, kept as files: `tests/golden/api/examples/<operation>.json`, status and body."""

import json
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "golden" / "api" / "examples"


def example(operation: str) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((EXAMPLES / f"{operation}.json").read_text())
    return kept
