"""A warehouse of somebody's, spread over hosts: a coordinator, three data nodes, and a standby of the third."""

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import psycopg

from stillhouse.domain.cluster import Node
from stillhouse.errors import NodeUnreachable
from stillhouse.postgres.host import server
from stillhouse.warehouse.cluster import embedded
from stillhouse.warehouse.cluster.embedded import Site
from support.databases.writers import Bank, found_bank, transfer, until
from support.networks.namespaces import SUBNET, Host
from support.networks.relay import Relay, relaying
from support.servers import warehouses
from support.servers.registered import ROLE, registered
from support.servers.warehouses import rows
from support.snapshots.cuts import superuser, tell

SERVICE, PAIR = "service", ("dn3", "dn3b")
SERVERS = ("cn", "dn1", "dn2", *PAIR)
RELAY_PORT = 6000
_RULES = "pgdata/hosts_hba.conf"
_FOLLOWER = "follower"
_DOING = (
    "SELECT clock_timestamp(), pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()"
    " ELSE pg_current_wal_flush_lsn() END",
    "SELECT application_name, state, sync_state, sent_lsn, flush_lsn, reply_time FROM pg_stat_replication",
    "SELECT status, flushed_lsn, sender_host, last_msg_receipt_time FROM pg_stat_wal_receiver",
    "SELECT pid, usename, application_name, client_addr, state, wait_event_type, wait_event, xact_start,"
    " left(query, 90) FROM pg_stat_activity WHERE usename IS NOT NULL AND pid <> pg_backend_pid()",
)
_PAD = "CREATE TABLE public.pad AS SELECT i, repeat(md5(i::text), 8) AS v FROM generate_series(1, 40000) i"


class Spread:
    """`bank` is used from a host of the network. `primary` is the one of the pair that can be written to."""

    def __init__(self, site: Site, hosts: Mapping[str, Host], place: Path) -> None:
        self._site, self.hosts, self.relays = site, hosts, dict[str, Relay]()
        self.primary, self._standby = PAIR
        cluster = warehouses.build(site, 3)
        bank = found_bank(cluster, warehouses.PASSWORD)
        # Their passwords are alike, so the file of one serves for all.
        known = registered(cluster, place).coordinator.connection
        assert known is not None
        self._password_file = known.password_file
        for node in cluster.nodes:
            with superuser(node) as session:
                tell(session, _PAD)
                tell(session, f"CREATE ROLE {_FOLLOWER} REPLICATION LOGIN PASSWORD 'Follower-1'")
        with superuser(cluster.coordinator, bank.database) as session:
            for node in cluster.data_nodes:
                tell(session, self._moved(node.name))
        embedded.stop_all(site, cluster.nodes)
        self._nodes = {node.name: self._at_home(node) for node in cluster.nodes}
        self._add_standby()
        self.bank = replace(
            bank, cluster=replace(cluster, nodes=tuple(self._nodes[n.name] for n in cluster.nodes))
        )

    def _moved(self, name: str) -> str:
        """The statement by which the coordinator finds a data node at its new address."""
        if name not in PAIR:
            return f"ALTER SERVER {name} OPTIONS (SET host '{self.hosts[name].address}', SET connect_timeout '3')"
        hosts = ",".join(self.hosts[one].address for one in PAIR)
        ports = ",".join(str(warehouses.PORT) for _ in PAIR)
        return (
            f"ALTER SERVER {name} OPTIONS (SET host '{hosts}', SET port '{ports}', SET connect_timeout '3',"
            " ADD target_session_attrs 'read-write')"
        )

    def _at_home(self, node: Node) -> Node:
        """The node at its host's address, with rules that let in the roles from the other hosts."""
        data = Path(node.directory, "pgdata")
        rules = (data / "pg_hba.conf").read_text().replace("127.0.0.0/8", f"{SUBNET}.0/24")
        for_roles = f"host all,replication {ROLE},{_FOLLOWER} {SUBNET}.0/24 scram-sha-256\n"
        own = Path(node.directory, _RULES)
        own.write_text(for_roles + rules)
        self._give(own)
        return replace(node, host=self.hosts[node.name].address)

    def _add_standby(self) -> None:
        node, name = self._nodes[self.primary], self._standby
        home = Path(node.directory).with_name(name)
        subprocess.run(["cp", "-a", node.directory, str(home)], check=True)
        there = replace(node, name=name, host=self.hosts[name].address, directory=str(home))
        self._nodes[name] = replace(there, socket=f"{node.socket}b")
        self._make_standby(name)

    def _make_standby(self, name: str) -> None:
        signal = Path(self._nodes[name].directory, "pgdata", "standby.signal")
        signal.touch()
        self._give(signal)

    def _give(self, path: Path) -> None:
        owner = path.parent.stat()
        shutil.chown(path, owner.st_uid, owner.st_gid)

    def node(self, name: str) -> Node:
        return self._nodes[name]

    @property
    def nodes(self) -> list[Node]:
        return [*self._nodes.values()]

    def doing(self) -> str:
        """What all servers are at, line by line."""
        lines: list[str] = []
        for node in self.nodes:
            try:
                found = [row for question in _DOING for row in rows(node, question)]
            except NodeUnreachable as error:
                found = [(error.message,)]
            lines += [f"{node.name}: {', '.join(map(str, row))}" for row in found]
        return "\n".join(lines)

    def start(self, name: str) -> None:
        settings = {"hba_file": _RULES}
        if name in PAIR:
            other = PAIR[1 - PAIR.index(name)]
            to = f"host={self.hosts[other].address} port={warehouses.PORT} user={_FOLLOWER} password=Follower-1"
            settings["primary_conninfo"] = f"{to} application_name={name} connect_timeout=3"
            # No commit is told that the other one lacks: a failover loses nothing.
            settings["synchronous_standby_names"] = other
        with self.hosts[name].entered():
            server.start(self._site.binaries, self._nodes[name], settings)

    def stop(self, name: str, mode: server.StopMode) -> None:
        with self.hosts[name].entered():
            server.stop(self._site.binaries, self._nodes[name], mode)

    def fail_over(self) -> None:
        """The primary is killed, and its standby promoted. It comes back as the standby of the other."""
        lost, promoted = self.primary, self._standby
        self.stop(lost, "immediate")
        rows(self._nodes[promoted], "SELECT pg_promote()")
        until(lambda: rows(self._nodes[promoted], "SELECT pg_is_in_recovery()") == [(False,)], 60)
        self.primary, self._standby = promoted, lost
        shutil.rmtree(Path(self._nodes[lost].directory, "pgdata"))
        with self.hosts[lost].entered():
            done = self._site.binaries.of(self._nodes[lost]).run(
                "pg_basebackup",
                f"--dbname=host={self.hosts[promoted].address} port={warehouses.PORT} user={_FOLLOWER}",
                "--pgdata=pgdata",
                "--checkpoint=fast",
                timeout=120,
                directory=self._nodes[lost].directory,
                environment={"PGPASSWORD": "Follower-1"},
            )
        assert done.returncode == 0, done.stderr
        self._make_standby(lost)
        self.start(lost)

    def registration(self) -> dict[str, Any]:
        """What `cluster add --file` reads: the service comes by the relays, the coordinator does not."""

        def known(*names: str) -> dict[str, list[str]]:
            addresses = [self.hosts[name].address for name in names]
            return {
                "hosts": [f"{one}:{RELAY_PORT}" for one in addresses],
                "known_as": [f"{one}:{warehouses.PORT}" for one in addresses],
            }

        return {
            "name": "spread",
            "engine": "fdw",
            "role": ROLE,
            "password_file": self._password_file,
            "tls": "disable",
            "coordinator": {"hosts": known("cn")["hosts"]},
            "data_nodes": [known("dn1"), known("dn2"), known(*PAIR)],
        }

    def destroy(self) -> None:
        for name in SERVERS:
            if name in self._nodes:
                with suppress(NodeUnreachable):
                    self.stop(name, "immediate")
        embedded.destroy(self._site, self.bank.cluster.id)


@contextmanager
def spread(site: Site, hosts: Mapping[str, Host], place: Path) -> Iterator[Spread]:
    """The warehouse at work, with a relay on each host."""
    made = Spread(site, hosts, place)
    with ExitStack() as undo:
        undo.callback(made.destroy)
        for name in SERVERS:
            made.start(name)
            target = (hosts[name].address, warehouses.PORT)
            made.relays[name] = undo.enter_context(relaying(hosts[name], RELAY_PORT, target))
        yield made


@contextmanager
def transfers(bank: Bank, number: int) -> Iterator[list[int]]:
    """Writers that move money until the end, and log in again when they are thrown out. Each counts its transfers.

    A node that dies may tear a transfer: the coordinator commits on one data node after the other.
    """
    stop, done = threading.Event(), [0] * number

    def write(place: int) -> None:
        payers, payees = (cycle(half[place::number]) for half in bank.halves[:2])
        if place % 2:
            payees = cycle(bank.halves[2][place::number])
        while not stop.is_set():
            with suppress(psycopg.Error), bank.connect() as connection:
                connection.execute("SET statement_timeout = '20s'")
                while not stop.is_set():
                    transfer(connection, next(payers), next(payees), 7)
                    done[place] += 1
                    stop.wait(0.02)
            stop.wait(0.2)

    threads = [threading.Thread(target=write, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
