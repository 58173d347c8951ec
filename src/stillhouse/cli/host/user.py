"""`stillhouse user`: people and programs that log in by password, for a token."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from stillhouse.cli.host.key import read_policies
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Data, Json, OneProject, Policies, Project

if TYPE_CHECKING:
    from stillhouse.control.catalog_context import CatalogContext

user = App(name="user", help="Users, who log in by password for a token.")


@user.command
def create(
    name: str,
    /,
    *,
    data: Data,
    project: Project,
    policy: Policies = (),
    password_file: Path | None = None,
    json_: Json = False,
) -> None:
    """Make a user of a project; the password is drawn at random and shown this once.

    Parameters
    ----------
    name
        Unique within the project.
    password_file
        Take the password from this file's first line instead.
    """
    from stillhouse.control.access.users import create_user

    def make(context: "CatalogContext") -> None:
        given = command.read_text(password_file).partition("\n")[0] if password_file else ""
        password = create_user(context, project, name, given, read_policies(policy))
        shown = {"user": name, "domain": project, "project_id": project}
        command.say_fields(shown if given else shown | {"password": password}, json_)

    command.run_on(data, make)


@user.command(name="list")
def list_(*, data: Data, project: OneProject = "", json_: Json = False) -> None:
    """List users."""
    from stillhouse.control.access.users import list_users

    def tell(context: "CatalogContext") -> None:
        rows = [
            {
                "user": each.name,
                "id": each.id,
                "project_id": each.project,
                "policies": list(each.policies),
                "created": command.moment(each.created),
                "disabled": command.moment(each.disabled),
            }
            for each in list_users(context, project)
        ]
        command.say_rows("users", rows, json_)

    command.run_on(data, tell)


@user.command
def disable(name: str, /, *, data: Data, project: Project, json_: Json = False) -> None:
    """Disable a user for good, and with them their tokens and temporary keys.

    Parameters
    ----------
    name
        The user.
    """
    from stillhouse.control.access.users import disable_user

    def end(context: "CatalogContext") -> None:
        disable_user(context, project, name)
        command.say_fields({"disabled": name}, json_)

    command.run_on(data, end)
