"""The other side of the pairs: what the field's tools do on the same server, as its account, with the same settings."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from measure import empty
from spent import Spent, measured

from stillhouse.domain.cluster import Node
from stillhouse.postgres.host import server
from stillhouse.postgres.host.binaries import Binaries
from stillhouse.postgres.sessions import session

SUPERUSER = "stillhouse"


def run(binaries: Binaries, *command: str | Path) -> None:
    """As the servers' account; raises CalledProcessError, with what it said, when it fails."""
    done = subprocess.run(
        [*_become(binaries), *map(str, command)], capture_output=True, text=True, check=False, cwd="/"
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout}{done.stderr}")


def _become(binaries: Binaries) -> Sequence[str]:
    return ["runuser", "-u", binaries.account.name, "--"] if binaries.account else []


def own(binaries: Binaries, path: Path) -> Path:
    path.mkdir(parents=True)
    if binaries.account is not None:
        os.chown(path, binaries.account.uid, binaries.account.gid)
    return path


def password_file(binaries: Binaries, node: Node, place: Path) -> Path:
    """By which the peers log in as the superuser, through the node's socket."""
    path = place / "pgpass"
    path.write_text(session.password_file(node))
    path.chmod(0o600)
    if binaries.account is not None:
        os.chown(path, binaries.account.uid, binaries.account.gid)
    return path


def bytes_below(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


class PgBackRest:
    """Encrypted, zstd level 1, bundled by nothing (2.45 has no block incremental), two processes."""

    def __init__(self, binaries: Binaries, node: Node, place: Path, workers: int = 2) -> None:
        self._binaries, self._node = binaries, node
        self._home = own(binaries, place / "pgbackrest")
        self.repo = self._home / "repo"
        self._config = self._home / "pgbackrest.conf"
        self._config.write_text(
            "[global]\n"
            f"repo1-path={self.repo}\nlog-path={self._home}\nlock-path={self._home}\nspool-path={self._home}\n"
            "log-level-console=warn\nlog-level-file=off\n"
            "repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=benchmark\n"
            f"compress-type=zst\ncompress-level=1\nprocess-max={workers}\nstart-fast=y\narchive-check=n\n"
            "repo1-retention-full=2\nrepo1-bundle=y\n"
            "[main]\n"
            f"pg1-path={node.directory}/pgdata\npg1-socket-path={node.socket}\npg1-port={node.port}\n"
            f"pg1-user={SUPERUSER}\n"
        )
        self._config.chmod(0o644)
        self._tell("stanza-create", "--no-online")

    def _tell(self, *words: str) -> None:
        run(self._binaries, "pgbackrest", f"--config={self._config}", "--stanza=main", *words)

    def capture(self, *, incremental: bool = False) -> Spent:
        before = bytes_below(self.repo)
        with measured(server.process_id(self._node)) as spent:
            self._tell("backup", f"--type={'incr' if incremental else 'full'}", "--no-expire-auto")
        spent.stored_bytes = bytes_below(self.repo) - before
        return spent

    def restore(self) -> Spent:
        target = own(self._binaries, self._home / f"restored{secrets.token_hex(4)}")
        target.chmod(0o700)
        try:
            with measured(None) as spent:
                self._tell("restore", f"--pg1-path={target}", "--type=none")
        finally:
            empty(target)
        return spent


class BaseBackup:
    """pg_basebackup to a tar, compressed by the server with two workers, synced; not encrypted."""

    def __init__(self, binaries: Binaries, node: Node, place: Path) -> None:
        self._binaries, self._node = binaries, node
        self._home = own(binaries, place / "basebackup")

    def capture(self) -> Spent:
        target = self._home / "tar"
        try:
            with measured(server.process_id(self._node)) as spent:
                run(
                    self._binaries, self._binaries.directory / "pg_basebackup", "-w", "-h", self._node.socket, "-p",
                    str(self._node.port), "-U", SUPERUSER, "-D", target, "-Ft", "-X", "fetch", "-c", "fast",
                    "--compress=server-zstd:level=1,workers=2",
                )  # fmt: skip
            spent.stored_bytes = bytes_below(target)
        finally:
            shutil.rmtree(target, ignore_errors=True)
        return spent


class IncrementalBackup:
    """pg_basebackup --incremental, then pg_combinebackup: only that can be restored."""

    def __init__(self, binaries: Binaries, node: Node, place: Path) -> None:
        self._binaries, self._node = binaries, node
        self._home = own(binaries, place / "incremental")

    def _backup(self, target: Path, *more: str | Path) -> None:
        run(
            self._binaries, self._binaries.directory / "pg_basebackup", "-w", "-h", self._node.socket, "-p",
            str(self._node.port), "-U", SUPERUSER, "-D", target, "-Fp", "-X", "fetch", "-c", "fast", *more,
        )  # fmt: skip

    def full(self) -> None:
        shutil.rmtree(self._home / "full", ignore_errors=True)
        self._backup(self._home / "full")

    def capture(self) -> Spent:
        full, increment, whole = self._home / "full", self._home / "increment", self._home / "whole"
        try:
            with measured(server.process_id(self._node)) as spent:
                self._backup(increment, f"--incremental={full / 'backup_manifest'}")
                run(
                    self._binaries,
                    self._binaries.directory / "pg_combinebackup",
                    full,
                    increment,
                    "-o",
                    whole,
                )
            spent.stored_bytes = bytes_below(increment)
        finally:
            shutil.rmtree(increment, ignore_errors=True)
            shutil.rmtree(whole, ignore_errors=True)
        return spent


class Restic:
    """A file-level tool over the data directory as it lies there: no backup mode, so not restorable as such."""

    def __init__(self, node: Node, place: Path) -> None:
        self._source = f"{node.directory}/pgdata"
        self.repo = place / "restic"
        self._environment = {
            **os.environ,
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_CACHE_DIR": str(place / "cache"),
        }
        self._restic("init")

    def _restic(self, *words: str) -> None:
        subprocess.run(
            ["restic", "-q", "-r", str(self.repo), *words],
            check=True,
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )

    def capture(self) -> Spent:
        """A whole one every time, into a fresh repository."""
        shutil.rmtree(self.repo)
        self._restic("init")
        with measured(None) as spent:
            self._restic("backup", "--compression", "auto", self._source)
        spent.stored_bytes = bytes_below(self.repo)
        return spent
