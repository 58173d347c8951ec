"""A process that moves a catalog and is killed at a named moment. Usage: python move_process.py DATA TO MOMENT."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from stillhouse.catalog.installation import identity, rows
from stillhouse.config import Settings
from stillhouse.control.upkeep import move_catalog

MOMENTS = ("announced", "copying", "copied", "source marked", "arrived")


def die_at(moment: str) -> None:
    """Kill this process as soon as it comes there. What it has not committed by then is lost."""

    def after(module: Any, name: str, call: int) -> None:
        original = getattr(module, name)
        calls: list[str] = []

        def counted(*given: Any, **named: Any) -> Any:
            if len(calls) == call:
                os.kill(os.getpid(), signal.SIGKILL)
            calls.append(name)
            return original(*given, **named)

        setattr(module, name, counted)

    if moment == "announced":
        after(rows, "lock", 0)
    elif moment == "copying":
        after(rows, "_copy", 8)
    elif moment == "copied":  # the target's rows are committed, the source does not say that it has moved
        after(identity, "set_state", 0)
    elif moment == "source marked":
        after(identity, "set_state", 1)
    elif moment == "arrived":
        after(identity, "note_place", 0)


if __name__ == "__main__":
    die_at(sys.argv[3])
    move_catalog.move_catalog(Settings(data=Path(sys.argv[1])), sys.argv[2])
