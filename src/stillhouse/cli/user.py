"""`stillhouse user`: people and programs that log in by password, for a token."""

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from stillhouse.cli import command
from stillhouse.cli.command import Json
from stillhouse.cli.key import read_policies

if TYPE_CHECKING:
    from stillhouse.control.context import Control

user = App(name="user", help="Users, who log in by password for a token.")


@user.command
def create(
    name: str,
    /,
    *,
    data: Path,
    project: str,
    policy: tuple[str, ...] = (),
    password_file: Path | None = None,
    json_: Json = False,
) -> None:
    """Make a user of a project; the password is drawn at random and shown this once.

    Parameters
    ----------
    name
        Unique within the project.
    data
        The service's data directory; the service may be running.
    project
        Project id: 32 lower-case hexadecimal digits. It is the user's domain as well.
    policy
        What the user may do: a policy's name, or a file that holds a policy document; may be given
        several times. Without any: DWS FullAccess.
    password_file
        Take the password from this file's first line instead.
    json_
        Print one JSON object.
    """
    from stillhouse.control.users import create_user

    def make(control: "Control") -> None:
        given = command.read_text(password_file).partition("\n")[0] if password_file else ""
        password = create_user(control, project, name, given, read_policies(policy))
        shown = {"user": name, "domain": project, "project_id": project}
        command.say_fields(shown if given else shown | {"password": password}, json_)

    command.run_on(data, make)


@user.command(name="list")
def list_(*, data: Path, project: str = "", json_: Json = False) -> None:
    """List users.

    Parameters
    ----------
    data
        The service's data directory; the service may be running.
    project
        Only this project's.
    json_
        Print one JSON object.
    """
    from stillhouse.control.users import list_users

    def tell(control: "Control") -> None:
        rows = [
            {
                "user": each.name,
                "id": each.id,
                "project_id": each.project,
                "policies": list(each.policies),
                "created": command.moment(each.created),
                "disabled": command.moment(each.disabled),
            }
            for each in list_users(control, project)
        ]
        command.say_rows("users", rows, json_)

    command.run_on(data, tell)


@user.command
def disable(name: str, /, *, data: Path, project: str, json_: Json = False) -> None:
    """Disable a user for good, and with them their tokens and temporary keys.

    Parameters
    ----------
    name
        The user.
    data
        The service's data directory; the service may be running.
    project
        The user's project.
    json_
        Print one JSON object.
    """
    from stillhouse.control.users import disable_user

    def end(control: "Control") -> None:
        disable_user(control, project, name)
        command.say_fields({"disabled": name}, json_)

    command.run_on(data, end)
