"""Values in the types of clients that would fail to read ours; the `User-Agent` tells the client.

- The newest Java SDK on Maven Central, 3.1.143, has text in its models of three answers where all other SDKs have
  numbers. The `User-Agent` is `huaweicloud-usdk-java/3.0` in every version (`core.Constants.USER_AGENT_VALUE`), and a
  program's addition follows it. Later versions, from August 2025 on, also name the system and Java there
  (`core.impl.DefaultUserAgent`), and have numbers. So the SDK is taken for an older one if there is no `java/`.
- The SDKs for Go (0.1.207, `model_schema_info.go`) and Java (3.1.143, `SchemaInfo`) have 32 bits for the sizes of a
  schema, which are in bytes. They fail on the whole answer when one is larger.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from stillhouse.api.shapes.values import INT32_MAX, Json

_GO_SDK, _JAVA_SDK = "huaweicloud-usdk-go/", "huaweicloud-usdk-java/"
_OLD_JAVA_SDK = f"{_JAVA_SDK}3.0"
_TELLS_JAVA = re.compile(r"[ ;]java/")


def _reads_text(user_agent: str) -> bool:
    """Tell whether the caller is a Java SDK of a version that reads text in place of numbers."""
    return user_agent.startswith(_OLD_JAVA_SDK) and not _TELLS_JAVA.search(user_agent, len(_OLD_JAVA_SDK))


def _reads_32_bits(user_agent: str) -> bool:
    return user_agent.startswith((_GO_SDK, _JAVA_SDK))


def _nothing(_value: object) -> None:
    """Return null in place of a text that is an Integer in the model."""


def _at_most_32_bits(size: int) -> int:
    """Return the largest number that fits, for a larger one. Go would show null as 0."""
    return min(size, INT32_MAX)


@dataclass(frozen=True)
class _Change:
    """By the path to a field, through the items of lists, the conversion of its value, for some callers."""

    concerns: Callable[[str], bool]
    fields: Mapping[tuple[str, ...], Callable[[Any], object]]


_CHANGES: Mapping[str, _Change] = {
    "ListNodeTypes": _Change(
        _reads_text,
        {
            ("node_types", "datastores", "attachments", "min_cn"): str,
            ("node_types", "datastores", "attachments", "max_cn"): str,
            ("node_types", "elastic_volume_specs", "step"): str,
        },
    ),
    "ListQuotas": _Change(
        _reads_text,
        {("quotas", "resources", "used"): str, ("quotas", "resources", "unit"): _nothing},
    ),
    "ListSnapshotPolicy": _Change(_reads_text, {("keep_day",): str}),
    "ListSchemas": _Change(
        _reads_32_bits,
        {("schemas", size): _at_most_32_bits for size in ("total_value", "min_value", "max_value")},
    ),
}


def for_client(operation: str, answer: Json, request: Request, response: Response) -> Json:
    """Return the answer as the caller can read it, with a header that tells caches that it depends on the caller."""
    response.headers["Vary"] = "User-Agent"
    change = _CHANGES[operation]
    if change.concerns(request.headers.get("user-agent", "")):
        for way, convert in change.fields.items():
            _convert(answer, way, convert)
    return answer


def _convert(node: Any, way: tuple[str, ...], convert: Callable[[Any], object]) -> None:
    if isinstance(node, list):
        for item in node:
            _convert(item, way, convert)
    elif isinstance(node, dict) and len(way) > 1:
        _convert(node[way[0]], way[1:], convert)
    elif isinstance(node, dict) and node[way[0]] is not None:
        node[way[0]] = convert(node[way[0]])
