"""The command line's entry point; commands that need a service use its API."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from stillhouse import __version__
from stillhouse.cli.host import registration
from stillhouse.cli.host.audit import audit
from stillhouse.cli.host.key import key
from stillhouse.cli.host.user import user
from stillhouse.cli.repo import check as repo_check
from stillhouse.cli.repo import collect as repo_collect
from stillhouse.cli.repo import copy as repo_copy
from stillhouse.cli.repo import keys as repo_keys
from stillhouse.cli.repo import recover as repo_recover
from stillhouse.cli.repo.app import repo
from stillhouse.cli.service.cluster import cluster
from stillhouse.cli.service.snapshot import snapshot
from stillhouse.cli.service.snapshot_policy import policy
from stillhouse.cli.terminal import command

app = App(name="stillhouse", version=__version__, help="Snapshots of PostgreSQL-family warehouse clusters.")
app.command(key)
app.command(user)
app.command(audit)
app.command(repo)
for look in (repo_check.check, repo_check.verify, repo_check.stats):
    repo.command(look)
repo.command(repo_collect.collect)
repo.command(repo_keys.key)
repo.command(repo_keys.shred)
repo.command(repo_recover.snapshots)
repo.command(repo_recover.restore)
repo.command(repo_copy.copy)
repo.command(repo_recover.rebuild_catalog)
app.command(cluster)
for work in (
    registration.add,
    registration.check,
    registration.connect,
    registration.grants,
    registration.propose,
    registration.remove,
):
    cluster.command(work)
app.command(snapshot)
app.command(policy)

# Modules with servers and engines behind them are imported in the commands: `--help` should not wait for them.


def main() -> None:
    """Run the program. Only its user can read the files that it makes: keys and passwords are among them."""
    os.umask(0o077)
    app()


@app.command
def serve(
    *,
    data: Path,
    listen: Annotated[str, Parameter(env_var="STILLHOUSE_LISTEN")] = "127.0.0.1:8080",
    tls_cert: Annotated[Path | None, Parameter(env_var="STILLHOUSE_TLS_CERT")] = None,
    tls_key: Annotated[Path | None, Parameter(env_var="STILLHOUSE_TLS_KEY")] = None,
    insecure: Annotated[bool, Parameter(env_var="STILLHOUSE_INSECURE", negative="")] = False,
    public_url: Annotated[str, Parameter(env_var="STILLHOUSE_PUBLIC_URL")] = "",
    listen_clusters: Annotated[str, Parameter(env_var="STILLHOUSE_LISTEN_CLUSTERS")] = "",
    stop_clusters: Annotated[bool, Parameter(env_var="STILLHOUSE_STOP_CLUSTERS", negative="")] = False,
) -> None:
    """Run the service: API, flows and local node work in one process tree.

    Parameters
    ----------
    data
        Everything the service needs is created below this directory.
    listen
        HOST:PORT to listen on. Ready when GET /healthz answers 200.
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
    from stillhouse.config import Settings

    command.run(
        lambda: run(
            Settings(
                data=data,
                listen=listen,
                tls_cert=tls_cert,
                tls_key=tls_key,
                insecure=insecure,
                public_url=public_url,
                listen_clusters=listen_clusters,
                stop_clusters=stop_clusters,
            )
        )
    )
