"""Errors of steps and flows from outside our tree, told as those of it."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from dbos import error

from stillhouse import log
from stillhouse.errors import InternalError, StillhouseError

P = ParamSpec("P")
T = TypeVar("T")

_LOOK_SECONDS = 0.02


def in_our_errors(name: str, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `fn`, and turn an error from outside our tree into the InternalError that a replay would raise."""
    try:
        return fn(*args, **kwargs)
    except StillhouseError:
        raise
    except Exception as foreign:
        log.get("durable").error("step failed unexpectedly", step=name, exc_info=True)
        # The first line: an error of the database has the statement and its parameters in those after it.
        said = str(foreign).partition("\n")[0]
        raise InternalError(f"{name}: {type(foreign).__name__}: {said}") from foreign


def result_of(handle: Any) -> Any:
    """Return the result of a flow that has ended. Raises the flow's error, in our words."""
    try:
        return handle.get_result(polling_interval_sec=_LOOK_SECONDS)
    except error.DBOSException as ended:
        raise InternalError(f"flow {handle.get_workflow_id()} was ended from outside: {ended}") from ended
    except StillhouseError:
        raise
    except Exception as foreign:
        raise InternalError(
            f"flow {handle.get_workflow_id()}: {type(foreign).__name__}: {foreign}"
        ) from foreign
