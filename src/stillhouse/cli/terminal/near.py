"""The nearest of the names that are right, in place of one that is wrong."""

import difflib
from collections.abc import Mapping


def did_you_mean(named: str, spellings: Mapping[str, str], otherwise: str) -> str:
    """Return the question that has the spelling of the key nearest to `named`, or `otherwise` if none is near."""
    near = difflib.get_close_matches(named, spellings, 1)
    return f"did you mean {spellings[near[0]]}?" if near else otherwise
