"""The application that a service answers with: the API, and the console unless the settings leave it out."""

from collections.abc import Callable

from starlette.types import ASGIApp

from stillhouse.api.app import create_app
from stillhouse.console.app import console
from stillhouse.control.context import Control


def application(control: Control, *, is_shutting_down: Callable[[], bool]) -> ASGIApp:
    """Put the faces together, behind the gateway that bounds them in common."""
    faces = {"console": console(control, is_shutting_down)} if control.settings.console else {}
    return create_app(control, is_shutting_down=is_shutting_down, faces=faces)
