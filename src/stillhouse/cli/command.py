"""How every command ends: its answer on standard output, or one readable line and exit code 1."""

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from stillhouse.errors import StillhouseError

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON object.")]
"""Type of the parameter that asks for one JSON object in place of words."""


def run(command: Callable[[], None]) -> None:
    """Run a command; an error of the tree becomes one readable line and exit code 1."""
    try:
        command()
    except StillhouseError as error:
        sys.stderr.write(f"stillhouse: {error.message}\n")
        if error.hint:
            sys.stderr.write(f"hint: {error.hint}\n")
        sys.stderr.flush()
        os._exit(1)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def say_json(answer: Any) -> None:
    say(json.dumps(answer))
