"""Refuses operations of the API that have no meaning on one's own host, and records the refusal."""

from typing import NoReturn

from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.errors import NotOffered


def refuse(control: Control, project: str, operation: str, resource: str, why: str) -> NoReturn:
    with audited(control, project, operation, resource):
        raise NotOffered(f"{operation} is not offered: {why}")
    raise AssertionError("the refusal passes through")
