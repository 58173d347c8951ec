"""The command line's entry point; commands that need a service use its API."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from stillhouse import __version__
from stillhouse.cli.terminal import command, times
from stillhouse.errors import InvalidInput

_WRONG_WORDS = 2

_FOR_ALL = """
Every command takes --utc: times in UTC, else in the local zone. With --json failures are JSON too, on standard error.

Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 3 damage found, 130 interrupted.
"""

# Plain text: rendering Markdown would take longer than all the rest of `--help`.
app = App(
    name="stillhouse",
    version=__version__,
    help="Snapshots of PostgreSQL-family warehouse clusters.",
    help_format="plaintext",
    help_epilogue=_FOR_ALL,
    default_parameter=Parameter(show_default=lambda value: value if value else None),
)
# Each is imported when it is called; `--help` does not need them, so their purposes are said here too.
_GROUPS = {
    "key": ("host.key:key", "Access keys, which sign requests."),
    "user": ("host.user:user", "Users, who ask for tokens by a password."),
    "catalog": ("host.catalog:catalog", "The catalog's place: a file in the data directory, or PostgreSQL."),
    "audit": ("host.audit:audit", "The record of every change and of every refusal."),
    "repo": ("repo.commands:repo", "The repository itself: the bucket and the KEK are all that is needed."),
    "cluster": ("commands:cluster", "Warehouse clusters. They are named by their name or their id."),
    "snapshot": (
        "commands:snapshot",
        "Snapshots of clusters. They are named by their name or their id.",
    ),
    "policy": (
        "commands:policy",
        "Policies of automated snapshots. They are named by their name or their id.",
    ),
}
_COMMANDS = {
    "events": (
        "service.project:events",
        "List the project's events, the newest first: begins, ends, and failures with their reason.",
    ),
    "statistics": ("service.project:statistics", "The project's figures: clusters, nodes and storage."),
    "completion": ("terminal.completion:completion", "Print the completions of a shell: bash, zsh or fish."),
}
for _name, (_place, _purpose) in (_GROUPS | _COMMANDS).items():
    app.command(f"stillhouse.cli.{_place}", name=_name, help=_purpose)


def main() -> None:
    """Run the program. Only its user can read the files that it makes: keys and passwords are among them."""
    os.umask(0o077)
    words = sys.argv[1:]
    if "--utc" in words:
        words.remove("--utc")
        times.use_utc()
    try:
        app(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        error.verbose = False
        command.leave(InvalidInput(str(error), hint=_help_of(error)), _WRONG_WORDS)


def _help_of(error: CycloptsError) -> str:
    return " ".join(("stillhouse", *(error.command_chain or ()), "--help"))


@app.command
def serve(
    *,
    data: Annotated[Path | None, Parameter(env_var="STILLHOUSE_DATA")] = None,
    config: Annotated[Path | None, Parameter(env_var="STILLHOUSE_CONFIG")] = None,
    catalog: Annotated[str | None, Parameter(env_var="STILLHOUSE_CATALOG")] = None,
    standby: Annotated[bool | None, Parameter(env_var="STILLHOUSE_STANDBY", negative="")] = None,
    listen: Annotated[str | None, Parameter(env_var="STILLHOUSE_LISTEN")] = None,
    tls_cert: Annotated[Path | None, Parameter(env_var="STILLHOUSE_TLS_CERT")] = None,
    tls_key: Annotated[Path | None, Parameter(env_var="STILLHOUSE_TLS_KEY")] = None,
    insecure: Annotated[bool | None, Parameter(env_var="STILLHOUSE_INSECURE", negative="")] = None,
    public_url: Annotated[str | None, Parameter(env_var="STILLHOUSE_PUBLIC_URL")] = None,
    listen_clusters: Annotated[str | None, Parameter(env_var="STILLHOUSE_LISTEN_CLUSTERS")] = None,
    stop_clusters: Annotated[bool | None, Parameter(env_var="STILLHOUSE_STOP_CLUSTERS", negative="")] = None,
) -> None:
    """Run the service: API, flows and local node work in one process tree.

    docs/settings.md lists all settings. A flag wins over the environment, and that over the file of --config.

    Parameters
    ----------
    data
        Everything the service needs is created below this directory.
    config
        A TOML file with settings.
    catalog
        postgresql://ROLE@HOST:PORT/DATABASE; the file catalog.sqlite in the data directory by default.
    standby
        Wait while another service works on the catalog, and take its place when that one ends.
    listen
        HOST:PORT to listen on; 127.0.0.1:8080 by default. Ready when GET /healthz answers 200.
    tls_cert
        A PEM file with the certificate and those that lead to its authority; it is read again when it changes.
    tls_key
        A PEM file with the certificate's key, which only its owner can read.
    insecure
        Answer plain HTTP on an address that is not a loopback one.
    public_url
        The address that clients use, http(s)://HOST:PORT, if it is not the one listened on.
    listen_clusters
        An address of this host, by name or number, on which clients on other hosts reach clusters made here.
    stop_clusters
        Stop the clusters' servers with the service; otherwise they go on, and the next start finds them.
    """
    from stillhouse.cli.host.serve import run
    from stillhouse.cli.terminal import settings

    flags = {
        "data": data,
        "catalog": catalog,
        "standby": standby,
        "listen": listen,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "insecure": insecure,
        "public_url": public_url,
        "listen_clusters": listen_clusters,
        "stop_clusters": stop_clusters,
    }
    command.run(lambda: run(settings.read(flags, config)))
