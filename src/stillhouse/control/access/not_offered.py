"""Refuses operations of the API that have no meaning on one's own host, and records the refusal."""

from typing import NoReturn

from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.errors import NotOffered


def refuse(context: CatalogContext, project: str, operation: str, resource: str, why: str) -> NoReturn:
    with audited(context, project, operation, resource):
        raise NotOffered(f"{operation} is not offered: {why}")
    raise AssertionError("the refusal passes through")
