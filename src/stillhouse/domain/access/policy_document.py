"""IAM policy documents: a strict reader, which refuses every unknown part and ignores nothing, and a writer.

    {"Version": "1.1", "Statement": [{"Effect": "Allow", "Action": ["dws:cluster:list*"], "Resource": ["*"]}]}

`Version` is 1.1 (custom policies) or 5.0 (identity policies). `Resource` may be left out, or name clusters, the only
kind of resource of DWS's actions: `dws:*:*:cluster:<id>`. Region and account must be `*`, because there is only one of
each here. Conditions are not offered.
"""

import json
import re
from typing import Any

from stillhouse.domain.access.permissions import EVERYTHING, Policy, Statement, matches
from stillhouse.domain.api_operations.all_operations import ACTIONS
from stillhouse.errors import InvalidInput

# IAM accepts 6,144 characters.
MAX_LENGTH = 6144
# A policy by its name, or a document of the holder's own.
Attached = str | dict[str, Any]

_VERSIONS = ("1.1", "5.0")
_KEYS = {"Effect", "Action", "Resource"}
_ACTION = re.compile(r"[a-z0-9:*]+")
_CLUSTER = re.compile(r"[0-9a-f*-]{1,36}")
_RESOURCE_FORM = "dws:*:*:cluster:<cluster id, or *>"
_ACTIONS = frozenset(name.lower() for name in ACTIONS)


def parse(text: str) -> Policy:
    """Return the policy in a JSON text. Raises InvalidInput, naming the part that is not understood."""
    return read(decode(text))


def decode(text: str) -> dict[str, Any]:
    """Return the document in the text, after `read` has checked it."""
    if len(text) > MAX_LENGTH:
        raise _refused(f"the document is longer than {MAX_LENGTH} characters")
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # int() takes 4300 digits at most
        raise _refused(f"it is not JSON: {error}") from error
    read(document)
    assert isinstance(document, dict)
    return document


def read(document: object) -> Policy:
    """Return the policy in a decoded document. Raises as `parse` does."""
    members = _members(document, "the document", {"Version", "Statement"})
    if members.get("Version") not in _VERSIONS:
        raise _refused(f"Version must be one of {', '.join(_VERSIONS)}")
    statements = members.get("Statement")
    if not isinstance(statements, list) or not statements:
        raise _refused("Statement must be a list of at least one")
    return Policy(tuple(_statement(each, f"Statement[{at}]") for at, each in enumerate(statements)))


def write(policy: Policy) -> dict[str, Any]:
    """Return the document of a policy, in the form that `read` understands."""
    statements = [
        {
            "Effect": "Allow" if each.allow else "Deny",
            "Action": list(each.actions),
            "Resource": [
                EVERYTHING if cluster == EVERYTHING else f"dws:*:*:cluster:{cluster}"
                for cluster in each.clusters
            ],
        }
        for each in policy.statements
    ]
    return {"Version": _VERSIONS[0], "Statement": statements}


def _statement(document: object, where: str) -> Statement:
    members = _members(document, where, _KEYS)
    effect = members.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise _refused(f"{where}.Effect must be Allow or Deny")
    actions = [_action(text, where) for text in _texts(members.get("Action"), f"{where}.Action")]
    resources = _texts(members.get("Resource", EVERYTHING), f"{where}.Resource")
    clusters = [_cluster(text, where) for text in resources]
    return Statement(effect == "Allow", tuple(actions), tuple(clusters))


def _action(text: str, where: str) -> str:
    pattern = text.lower()
    if not _ACTION.fullmatch(pattern) or not any(matches(pattern, name) for name in _ACTIONS):
        raise _refused(f"{where}.Action {text[:80]!r} is no action of this service")
    return pattern


def _cluster(text: str, where: str) -> str:
    pattern = text.lower()
    if pattern == EVERYTHING:
        return EVERYTHING
    prefix, _, cluster = pattern.rpartition(":")
    if prefix != "dws:*:*:cluster" or not _CLUSTER.fullmatch(cluster):
        raise _refused(f"{where}.Resource {text[:80]!r} must be * or {_RESOURCE_FORM}")
    return cluster


def _texts(value: object, where: str) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(each, str) for each in values):
        raise _refused(f"{where} must be a text or a list of at least one")
    return values


def _members(value: object, where: str, known: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(f"{where} must be an object")
    unknown = sorted(value.keys() - known)
    if unknown:
        raise _refused(f"{where} has {unknown[0][:80]!r}, which is not understood")
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _refused("an object has the same key twice")
    return members


def _refused(why: str) -> InvalidInput:
    return InvalidInput(f"Policy refused: {why}")
