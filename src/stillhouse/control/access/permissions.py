"""Named policies, and the check that a caller's policies permit an operation."""

import re
from collections.abc import Iterable, Sequence

from stillhouse.catalog import snapshots
from stillhouse.catalog.access import access_keys, named_policies, users
from stillhouse.catalog.access.named_policies import NamedPolicy
from stillhouse.catalog.schema.database import Transaction
from stillhouse.control.audit import audited
from stillhouse.control.catalog_context import CatalogContext
from stillhouse.domain.access import policy_document
from stillhouse.domain.access.permissions import BUILT_IN, Policy
from stillhouse.domain.access.policy_document import Attached
from stillhouse.domain.api_operations.all_operations import OPERATIONS
from stillhouse.domain.ids import is_uuid
from stillhouse.errors import Conflict, InternalError, InvalidInput, NotFound, NotPermitted

__all__ = ["NamedPolicy", "create_policy", "delete_policy", "demand", "list_policies", "show_policy"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 _.-]{0,63}")
# Policies belong to the installation, not to a project.
_NO_PROJECT = ""


def create_policy(context: CatalogContext, name: str, document: str) -> NamedPolicy:
    """Keep a policy document under a name. Raises InvalidInput, NameTaken."""
    with audited(context, _NO_PROJECT, "CreatePolicy", name) as transaction:
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                "a policy's name begins with a letter and has up to 64 letters, digits, blanks, '_', '.', '-'"
            )
        if name in BUILT_IN:
            raise InvalidInput(f"{name} is built in")
        policy = NamedPolicy(name, policy_document.decode(document), context.clock.now())
        named_policies.insert_policy(transaction, policy)
    return policy


def list_policies(context: CatalogContext) -> list[NamedPolicy]:
    """List the policies that were made here; the built-in ones are `domain.permissions.BUILT_IN`."""
    with context.database.reading() as reading:
        return named_policies.list_policies(reading)


def show_policy(context: CatalogContext, name: str) -> NamedPolicy:
    with context.database.reading() as reading:
        policy = named_policies.find_policy(reading, name)
    if policy is None:
        raise NotFound(f"there is no policy named {name}")
    return policy


def delete_policy(context: CatalogContext, name: str) -> None:
    """Delete a policy. Raises Conflict while a key or a user in use has it."""
    with audited(context, _NO_PROJECT, "DeletePolicy", name) as transaction:
        holders = [*_keys_with(transaction, name), *_users_with(transaction, name)]
        if holders:
            raise Conflict(f"policy {name} is that of {holders[0]}", hint="disable its holders first")
        if not named_policies.delete_policy(transaction, name):
            raise NotFound(f"there is no policy named {name}")


def check_attached(transaction: Transaction, attached: Iterable[Attached]) -> None:
    """Check that every name is a policy's and that every document can be read. Raises InvalidInput."""
    for each in attached:
        if (
            isinstance(each, str)
            and each not in BUILT_IN
            and named_policies.find_policy(transaction, each) is None
        ):
            raise InvalidInput(f"there is no policy named {each}", hint="stillhouse key policy list")
        if not isinstance(each, str):
            policy_document.read(each)


def resolve(transaction: Transaction, attached: Iterable[Attached]) -> tuple[Policy, ...]:
    """Read the policies behind names and documents. A missing name is an error, since it may have been a Deny."""
    return tuple(_policy(transaction, each) for each in attached)


def demand(context: CatalogContext, operation: str, clusters: Sequence[str | None]) -> None:
    """Raises NotPermitted unless the caller may do the operation to every one of these clusters.

    `None` stands for no single cluster. The clusters are not looked up here, so that a cluster of
    another project, or one that never existed, is refused like one of the caller's own.
    """
    names = OPERATIONS[operation].need.names
    if names and not all(context.caller.permissions.allow(names, cluster) for cluster in clusters):
        raise refusal(operation)


def demand_for_path(
    context: CatalogContext, operation: str, cluster: str | None, snapshot: str | None
) -> None:
    """Raises as `demand`, for the clusters that a path's ids concern.

    Policies that name no clusters are decided without the catalog.
    """
    caller = context.caller
    named: list[str | None] = [None]
    if caller.permissions.are_narrow:
        named = clusters_named(context, caller.project, cluster, snapshot)
    demand(context, operation, named)


def refusal(operation: str) -> NotPermitted:
    return NotPermitted(f"The caller's policies do not allow {OPERATIONS[operation].need.names[0]} here.")


def clusters_named(
    context: CatalogContext, project: str, cluster: str | None, snapshot: str | None
) -> list[str | None]:
    """Return the clusters that a path's ids concern; a snapshot concerns its source. `[None]`: no single one."""
    named: list[str | None] = [] if cluster is None else [cluster.lower()]
    if snapshot is not None and is_uuid(snapshot):
        with context.database.reading() as reading:
            named.append(snapshots.cluster_of(reading, project, snapshot.lower()))
    return named or [None]


def _policy(transaction: Transaction, attached: Attached) -> Policy:
    if not isinstance(attached, str):
        return policy_document.read(attached)
    if attached in BUILT_IN:
        return BUILT_IN[attached]
    found = named_policies.find_policy(transaction, attached)
    if found is None:
        raise InternalError(f"policy {attached} is gone, though somebody has it")
    return policy_document.read(found.document)


def _keys_with(transaction: Transaction, policy: str) -> list[str]:
    keys = access_keys.list_access_keys(transaction)
    return [f"key {key.access_key}" for key in keys if policy in key.policies and key.disabled is None]


def _users_with(transaction: Transaction, policy: str) -> list[str]:
    found = users.list_users(transaction)
    return [f"user {user.name}" for user in found if policy in user.policies and user.disabled is None]
