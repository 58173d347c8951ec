"""Numbers as text for the one client that cannot read them: the newest Java SDK on Maven Central, 3.1.143.

Its models of three answers are older than those of all other SDKs, which have numbers there. Its `User-Agent` is
`huaweicloud-usdk-java/3.0` in every version (`core.Constants.USER_AGENT_VALUE`), and a program's addition follows it.
Later versions, from August 2025 on, also name the system and Java there (`core.impl.DefaultUserAgent`), and have
numbers. So the SDK is taken for an older one if there is no `java/`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import Request, Response

from stillhouse.api.shapes.render import Json

_JAVA_SDK = "huaweicloud-usdk-java/3.0"
_TELLS_JAVA = re.compile(r"[ ;]java/")


def _nothing(_value: object) -> None:
    """Return null in place of a text that is an Integer in the model."""


# By operation: the path to a field, through the items of lists, and the conversion of its value.
_CHANGED: Mapping[str, Mapping[tuple[str, ...], Callable[[Any], object]]] = {
    "ListNodeTypes": {
        ("node_types", "datastores", "attachments", "min_cn"): str,
        ("node_types", "datastores", "attachments", "max_cn"): str,
        ("node_types", "elastic_volume_specs", "step"): str,
    },
    "ListQuotas": {
        ("quotas", "resources", "used"): str,
        ("quotas", "resources", "unit"): _nothing,
    },
    "ListSnapshotPolicy": {("keep_day",): str},
}


def for_client(operation: str, answer: Json, request: Request, response: Response) -> Json:
    """Return the answer as the caller can read it, with a header that tells caches that it depends on the caller."""
    response.headers["Vary"] = "User-Agent"
    if reads_text(request.headers.get("user-agent", "")):
        for way, change in _CHANGED[operation].items():
            _change(answer, way, change)
    return answer


def reads_text(user_agent: str) -> bool:
    """Tell whether the caller is a Java SDK of a version that reads text in place of numbers."""
    return user_agent.startswith(_JAVA_SDK) and not _TELLS_JAVA.search(user_agent, len(_JAVA_SDK))


def _change(node: Any, way: tuple[str, ...], change: Callable[[Any], object]) -> None:
    if isinstance(node, list):
        for item in node:
            _change(item, way, change)
    elif isinstance(node, dict) and len(way) > 1:
        _change(node[way[0]], way[1:], change)
    elif isinstance(node, dict) and node[way[0]] is not None:
        node[way[0]] = change(node[way[0]])
