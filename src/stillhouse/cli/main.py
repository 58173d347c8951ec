"""The command line; what a service does is asked of its API."""

from pathlib import Path

from cyclopts import App

from stillhouse import __version__
from stillhouse.cli import command, repo_collect  # noqa: F401 (its command registers itself)
from stillhouse.cli.command import Json
from stillhouse.cli.repo import repo

app = App(name="stillhouse", version=__version__, help="Snapshots of PostgreSQL-family warehouse clusters.")
key = App(name="key", help="Access keys, which sign requests.")
app.command(key)
app.command(repo)

# Modules with servers and engines behind them are imported in the commands: `--help` should not wait for them.


@app.command
def serve(*, data: Path, listen: str = "127.0.0.1:8080") -> None:
    """Run the service: API, flows and local node work in one process tree.

    Parameters
    ----------
    data
        Everything the service needs is created below this directory.
    listen
        HOST:PORT to listen on. Ready when GET /healthz answers 200.
    """
    from stillhouse.cli.serve import run
    from stillhouse.config import Settings

    command.run(lambda: run(Settings(data=data, listen=listen)))


@key.command
def create(*, data: Path, project: str, json_: Json = False) -> None:
    """Make an access key of a project; its secret is shown this once.

    Parameters
    ----------
    data
        The service's data directory; the service may be running.
    project
        Project id: 32 lower-case hexadecimal digits.
    json_
        Print one JSON object.
    """
    from stillhouse.bootstrap import open_control
    from stillhouse.config import Settings
    from stillhouse.control.access_keys import create_access_key

    def make() -> None:
        with open_control(Settings(data=data)) as control:
            made = create_access_key(control, project)
        fields = {"access_key": made.access_key, "secret_key": made.secret_key, "project_id": made.project}
        if json_:
            command.say_json(fields)
        else:
            command.say("\n".join(f"{name:<12}{value}" for name, value in fields.items()))

    command.run(make)
