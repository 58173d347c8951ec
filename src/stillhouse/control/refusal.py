"""Operations that the API has and that can mean nothing on one's own host: refused, and on record."""

from typing import NoReturn

from stillhouse.control.audit import audited
from stillhouse.control.context import Control
from stillhouse.errors import NotOffered


def refuse(control: Control, project: str, operation: str, resource: str, why: str) -> NoReturn:
    with audited(control, project, operation, resource):
        raise NotOffered(f"{operation} is not offered: {why}")
    raise AssertionError("the refusal passes through")
