"""Decodes JSON bodies strictly: a malformed one is refused before any of its fields is looked at."""

import json
import re
from email.message import Message
from typing import NoReturn

from stillhouse.errors import InvalidInput

# PostgreSQL cannot store a NUL, and no program can store half a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def decode(raw: bytes, content_type: str | None) -> object:
    """Decode the document in `raw`. Raises InvalidInput for a text that two readers could understand differently."""
    _check_content_type(content_type)
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_not_a_number)
    except UnicodeDecodeError as error:
        raise InvalidInput("The body is not UTF-8 text.") from error
    except RecursionError as error:
        raise InvalidInput("The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"The body is not JSON: {error}.") from error
    except ValueError as error:  # int() takes 4300 digits at most
        raise InvalidInput("The body holds a number of too many digits.") from error
    _check_text(document)
    return document


def _check_content_type(content_type: str | None) -> None:
    if content_type is None:
        return
    message = Message()
    message["content-type"] = content_type
    charset = message.get_param("charset", "utf-8")
    if message.get_content_type() != "application/json" or str(charset).lower() not in ("utf-8", "utf8"):
        raise InvalidInput("The Content-Type must be application/json in UTF-8.")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidInput("The body holds an object with the same key twice.")
    return members


def _not_a_number(literal: str) -> NoReturn:
    raise InvalidInput(f"The body is not JSON: {literal} is no number in it.")


def _check_text(document: object) -> None:
    pending = [document]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            if _UNSTORABLE.search(item):
                raise InvalidInput("The body holds a NUL character or half a surrogate pair.")
        elif isinstance(item, dict):
            pending += item.keys()
            pending += item.values()
        elif isinstance(item, list):
            pending += item
