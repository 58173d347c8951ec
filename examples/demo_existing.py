"""Stillhouse beside a PostgreSQL that somebody runs, for real: the five commands of the README, a restore, the proof.

Run it by `make demo EXISTING=1`. A server of another account is made first, of Debian's PostgreSQL if there is one.
From then on it is reached over the network alone, with the documented rights. Exit code 0 only if the restored cluster
has the rows that the source had at the moment of the snapshot.
"""

import argparse
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from demo_service import (
    COMMAND,
    PROJECT,
    Service,
    await_cluster,
    console,
    end_by_signals,
    running_service,
    sdk_client,
)
from huaweicloudsdkdws import v2 as dws

from stillhouse.postgres.host.binaries import find_binaries

DEBIAN = Path("/usr/lib/postgresql")
ROLE = "stillhouse_backup"
DIGEST = "SELECT count(*), sum(amount), md5(string_agg(note, ',' ORDER BY id)) FROM public.orders"


@dataclass(frozen=True)
class Source:
    """A server of somebody's, with a superuser `postgres` and an application's role `shop`."""

    programs: Path
    port: int
    superuser: str
    shop: str

    def log_in(self, user: str = "postgres") -> psycopg.Connection[Any]:
        password = self.superuser if user == "postgres" else self.shop
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname="postgres", autocommit=True
        )


@contextmanager
def somebodys_server(place: Path) -> Iterator[Source]:
    """A server in a directory of its own, started by another account where we are root; gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="somebodys-postgres-", dir=place))
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    programs = _programs(place)
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    source = Source(programs, port, secrets.token_hex(16), secrets.token_hex(16))
    (root / "password").write_text(source.superuser)
    if account is not None:
        for path in (root, root / "password"):
            os.chown(path, account.pw_uid, account.pw_gid)

    def run(program: str, *arguments: str) -> None:
        as_account = (
            {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        )
        subprocess.run(
            [programs / program, *arguments], check=True, cwd=root, stdout=subprocess.DEVNULL, **as_account
        )

    data = f"--pgdata={root / 'data'}"
    try:
        run("initdb", data, "--username=postgres", "--auth=scram-sha-256", f"--pwfile={root / 'password'}")
        options = f"-c port={port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={root}"
        run("pg_ctl", "start", data, "-w", f"--log={root / 'log'}", f"--options={options}")
        yield source
        run("pg_ctl", "stop", data, "-w", "--mode=fast")
    finally:
        subprocess.run(
            ["/bin/sh", "-c", f"kill -QUIT $(head -1 {root}/data/postmaster.pid) 2>/dev/null"], check=False
        )
        shutil.rmtree(root, ignore_errors=True)


def _programs(place: Path) -> Path:
    for major in ("17", "15", "16", "18"):
        if (DEBIAN / major / "bin" / "initdb").exists():
            return DEBIAN / major / "bin"
    return find_binaries(place, None).directory


def fill(source: Source, rows: int) -> None:
    with closing(source.log_in()) as connection:
        connection.execute(f"CREATE ROLE shop LOGIN PASSWORD '{source.shop}'".encode())
        connection.execute("CREATE TABLE public.orders (id bigserial PRIMARY KEY, amount int, note text)")
        connection.execute("ALTER TABLE public.orders OWNER TO shop")
        connection.execute(
            f"INSERT INTO orders (amount, note) SELECT g, md5(g::text) FROM generate_series(1, {rows}) g".encode()
        )


def stillhouse(*words: str, env: dict[str, str] | None = None) -> str:
    """Run a command as a person types it, and show it with its answer."""
    console.print(f"[bold]$ stillhouse {' '.join(words)}[/]", highlight=False)
    answer = subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, env={**os.environ, **(env or {})}
    )
    console.print((answer.stdout + answer.stderr).rstrip()[-4000:], highlight=False, markup=False)
    if answer.returncode:
        raise SystemExit(f"stillhouse {words[0]} {words[1]} failed")
    return answer.stdout


def exported(service: Service) -> dict[str, str]:
    """What the README exports: the address of the service, and a key."""
    made = subprocess.run(
        [*COMMAND, "key", "create", "--data", str(service.data), "--project", PROJECT, "--json"],
        check=True,
        capture_output=True,
    )
    key = json.loads(made.stdout)
    return {
        "STILLHOUSE_ENDPOINT": service.url,
        "STILLHOUSE_PROJECT": PROJECT,
        "CLOUD_SDK_AK": key["access_key"],
        "CLOUD_SDK_SK": key["secret_key"],
    }


def five_commands(source: Source, data: Path, key: dict[str, str], passwords: Path) -> None:
    """README, 'Back up the PostgreSQL you have'."""
    password = secrets.token_hex(16)
    passwords.write_text(f"{password}\n")
    passwords.chmod(0o600)
    with closing(source.log_in()) as connection:
        console.print(f"[bold]$ psql -c \"CREATE ROLE {ROLE} LOGIN PASSWORD '...'\"[/]", highlight=False)
        connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'".encode())
        connection.execute(stillhouse("cluster", "grants").encode())
    there = ("--host", f"127.0.0.1:{source.port}", "--tls", "disable", "--password-file", str(passwords))
    stillhouse("cluster", "check", *there)
    stillhouse("cluster", "add", "orders", "--data", str(data), "--project", PROJECT, *there)
    stillhouse("snapshot", "create", "first", "--cluster", "orders", "--wait", env=key)


def digest(connection: psycopg.Connection[Any]) -> list[Any]:
    with closing(connection):
        return connection.execute(DIGEST.encode()).fetchall()


def demo(rows: int, place: Path) -> bool:
    with somebodys_server(place) as source:
        os.environ["STILLHOUSE_PG_BIN"] = str(source.programs)
        fill(source, rows)
        with running_service(place, keep=False) as service:
            client = sdk_client(service)
            key = exported(service)
            five_commands(source, service.data, key, service.root / "orders.password")
            expected = digest(source.log_in("shop"))
            with closing(source.log_in("shop")) as connection:
                connection.execute("UPDATE orders SET amount = 0, note = 'changed' WHERE id % 100 = 0")
            stillhouse("snapshot", "create", "second", "--cluster", "orders", "--wait", env=key)
            stillhouse("snapshot", "prove", "first", "--wait", env=key)
            stillhouse("snapshot", "restore", "first", "--to", "orders-restored", "--wait", env=key)
            found = client.list_clusters(dws.ListClustersRequest()).clusters
            restored = next(one for one in found if one.name == "orders-restored")
            await_cluster(client, restored.id, "The restored cluster")
            host, port = restored.endpoints[0].connect_info.split(":")
            is_equal = expected == digest(
                psycopg.connect(host=host, port=port, user="shop", password=source.shop, dbname="postgres")
            )
            stillhouse("cluster", "delete", "orders-restored", "--yes", env=key)
            stillhouse(
                "cluster", "remove", "orders", "--yes", "--data", str(service.data), "--project", PROJECT
            )
    console.print("[green]Proved equal[/]" if is_equal else "[red]Not equal[/]")
    return is_equal


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000, help="how many orders to load")
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"), help="where to make the directories")
    arguments = parser.parse_args()
    end_by_signals()
    return 0 if demo(arguments.rows, arguments.place) else 1


if __name__ == "__main__":
    sys.exit(main())
