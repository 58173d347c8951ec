"""`stillhouse key`: access keys, and the policies that hold their permissions."""

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App

from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Data, Json, OneProject, Policies, Project

if TYPE_CHECKING:
    from stillhouse.catalog.access.access_keys import AccessKey
    from stillhouse.control.catalog_context import CatalogContext
    from stillhouse.domain.access.policy_document import Attached

key = App(name="key", help="Access keys, which sign requests.")
policy = App(name="policy", help="Policies: the permissions of a key's holder.")
key.command(policy)


@key.command
def create(*, data: Data, project: Project, policy: Policies = (), json_: Json = False) -> None:
    """Make an access key of a project; its secret is shown this once."""
    from stillhouse.control.access.access_keys import create_access_key

    def make(context: "CatalogContext") -> None:
        made = create_access_key(context, project, read_policies(policy))
        command.say_fields(_shown(made), json_)

    command.run_on(data, make)


@key.command(name="list")
def list_(*, data: Data, project: OneProject = "", json_: Json = False) -> None:
    """List access keys, without their secrets."""
    from stillhouse.control.access.access_keys import list_access_keys

    def tell(context: "CatalogContext") -> None:
        keys = [
            {
                "access_key": each.access_key,
                "project_id": each.project,
                "policies": list(each.policies),
                "created": command.moment(each.created),
                "expires": command.moment(each.expires),
                "disabled": command.moment(each.disabled),
            }
            for each in list_access_keys(context, project)
        ]
        command.say_rows("keys", keys, json_)

    command.run_on(data, tell)


@key.command
def disable(access_key: str, /, *, data: Data, project: Project, json_: Json = False) -> None:
    """Disable an access key for good, and with it the temporary keys that were made by it.

    Parameters
    ----------
    access_key
        The key to disable.
    """
    from stillhouse.control.access.access_keys import disable_access_key

    def end(context: "CatalogContext") -> None:
        disable_access_key(context, project, access_key)
        command.say_fields({"disabled": access_key}, json_)

    command.run_on(data, end)


@key.command
def rotate(
    access_key: str, /, *, data: Data, project: Project, overlap_hours: float = 24, json_: Json = False
) -> None:
    """Make a new pair with an access key's policies; the old pair ends after an overlap.

    Parameters
    ----------
    access_key
        The key to replace.
    overlap_hours
        Both pairs are good for so long; 0 ends the old one at once.
    """
    from stillhouse.control.access.access_keys import rotate_access_key

    def replace(context: "CatalogContext") -> None:
        new, old = rotate_access_key(context, project, access_key, timedelta(hours=overlap_hours))
        ends = {"replaces": old.access_key, "replaced_ends": command.moment(old.expires)}
        command.say_fields(_shown(new) | ends, json_)

    command.run_on(data, replace)


@policy.command(name="create")
def create_policy(file: Path, /, *, data: Data, name: str, json_: Json = False) -> None:
    """Keep a policy document under a name.

    Parameters
    ----------
    file
        The JSON document: Version, Statement, and in each Effect, Action, Resource.
    name
        The policy's name, by which keys refer to it.
    """
    from stillhouse.control.access import permissions

    def keep(context: "CatalogContext") -> None:
        permissions.create_policy(context, name, command.read_text(file))
        command.say_fields({"policy": name}, json_)

    command.run_on(data, keep)


@policy.command(name="list")
def list_policies(*, data: Data, json_: Json = False) -> None:
    """List the policies that keys can be given."""
    from stillhouse.control.access import permissions
    from stillhouse.domain.access.permissions import BUILT_IN

    def tell(context: "CatalogContext") -> None:
        rows: list[dict[str, Any]] = [{"name": name, "created": "built in"} for name in BUILT_IN]
        rows += [
            {"name": each.name, "created": command.moment(each.created)}
            for each in permissions.list_policies(context)
        ]
        command.say_rows("policies", rows, json_)

    command.run_on(data, tell)


@policy.command(name="show")
def show_policy(name: str, /, *, data: Data, json_: Json = False) -> None:
    """Print a policy's document.

    Parameters
    ----------
    name
        The policy.
    json_
        Print it on one line.
    """
    from stillhouse.control.access import permissions
    from stillhouse.domain.access import policy_document
    from stillhouse.domain.access.permissions import BUILT_IN

    def tell(context: "CatalogContext") -> None:
        if name in BUILT_IN:
            document = policy_document.write(BUILT_IN[name])
        else:
            document = permissions.show_policy(context, name).document
        command.say(json.dumps(document, indent=None if json_ else 2))

    command.run_on(data, tell)


@policy.command(name="delete")
def delete_policy(name: str, /, *, data: Data, json_: Json = False) -> None:
    """Delete a policy that no key and no user in use has.

    Parameters
    ----------
    name
        The policy.
    """
    from stillhouse.control.access import permissions

    def remove(context: "CatalogContext") -> None:
        permissions.delete_policy(context, name)
        command.say_fields({"deleted": name}, json_)

    command.run_on(data, remove)


def read_policies(given: tuple[str, ...]) -> "tuple[Attached, ...]":
    """Read policies: names as they are, files as the documents in them; FullAccess if nothing is given."""
    from stillhouse.domain.access import policy_document
    from stillhouse.domain.access.permissions import FULL_ACCESS

    def read(name_or_file: str) -> "Attached":
        path = Path(name_or_file)
        return policy_document.decode(command.read_text(path)) if path.is_file() else name_or_file

    return tuple(read(each) for each in given) or (FULL_ACCESS,)


def _shown(made: "AccessKey") -> dict[str, Any]:
    return {"access_key": made.access_key, "secret_key": made.secret_key, "project_id": made.project}
