"""docs/design/replicas.md says of each operation how a replica answers it."""

import re
from pathlib import Path

from stillhouse.api.app import published_routes
from stillhouse.domain.api_operations.all_operations import OPERATIONS

PAGE = (Path(__file__).parents[3] / "docs" / "design" / "replicas.md").read_text()


def test_each_operation_that_is_carried_out_is_in_the_table_once() -> None:
    table = PAGE.partition("## Each operation")[2].partition("`/healthz`")[0]
    named = [
        word
        for row in table.splitlines()
        if row.startswith("|")
        for word in re.findall(r"\b[A-Z]\w+[a-z]\w*\b", row.split("|")[2])
    ]
    published = {route.operation_id or route.name for route in published_routes()}
    carried_out = {
        one.id
        for one in OPERATIONS.values()
        if one.id in published and one.standing not in ("refused", "not yet")
    }
    assert sorted(word for word in named if word in OPERATIONS) == sorted(carried_out)
