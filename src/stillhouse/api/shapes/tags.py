"""Tags: the bodies of their requests and answers."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from stillhouse.api.shapes.values import Answer, Request
from stillhouse.control.clusters.tags import MOST_TAGS

_FORBIDDEN_IN_TAG = re.compile(r"[=*<>\\,|/]")


def _tag_text(text: str) -> str:
    if text != text.strip() or _FORBIDDEN_IN_TAG.search(text):
        raise ValueError("must neither begin or end with a space nor hold any of = * < > \\ , | /")
    return text


class Tag(Request):
    key: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_tag_text)]
    value: Annotated[str, Field(max_length=256), AfterValidator(_tag_text)] = ""


Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS)]


class BatchTagsRequest(Request):
    tags: Annotated[list[Tag], Field(min_length=1, max_length=MOST_TAGS)]


class TagRequest(Request):
    """One tag, from Open Telekom Cloud's API like the next shape."""

    tag: Tag


class TagsActionRequest(BatchTagsRequest):
    action: Literal["create", "delete"]


class ShownTag(Answer):
    key: str
    value: str


class ProjectTag(Answer):
    key: str
    values: list[str]


class ProjectTags(Answer):
    tags: list[ProjectTag]


class ClusterTags(Answer):
    tags: list[ShownTag]
