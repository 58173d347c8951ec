"""The choice, order and page of a list of snapshots, as ListSnapshots takes them."""

import sys
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlencode

from stillhouse.cli.terminal import times
from stillhouse.errors import InvalidInput

SortKey = Literal["name", "started", "finished", "size", "status", "type"]

_RISING = ("name", "status", "type")  # the others begin with the latest or largest


def query(
    cluster_id: str, status: str | None, since: str, sort: SortKey, limit: int, page: int, *, reverse: bool
) -> str:
    """Return the query; empty for all snapshots, the newest first. Pages begin at 1. Raises InvalidInput."""
    if limit < 0 or page < 1:
        raise InvalidInput("--limit is at least 0, and --page at least 1")
    begin = times.since(since, datetime.now(UTC)).astimezone(UTC) if since else None
    wanted = {
        "cluster_id": cluster_id,
        "status": status,
        "since": begin and f"{begin:%Y-%m-%dT%H:%M:%SZ}",
    }
    if limit:
        wanted |= {"limit": str(limit), "offset": str(page - 1)}
    if sort != "started" or reverse:
        wanted |= {"sort_key": sort, "sort_dir": "asc" if (sort in _RISING) != reverse else "desc"}
    return urlencode({name: value for name, value in wanted.items() if value})


def tell_page(page: int, limit: int, total: int) -> None:
    """Tell, beside a page, which one of how many it is."""
    sys.stderr.write(f"page {page} of {-(-total // limit)}, {total} snapshots in all\n")
