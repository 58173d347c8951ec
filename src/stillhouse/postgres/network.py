"""A network of a clone's own: an empty one, out of which nothing leads (network_namespaces(7)).

Sockets that are named by a path belong to no network: through them we reach the servers in it, and nothing but the
modes of directories keeps these servers out of the sockets of others.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stillhouse.errors import RestoreFailed
from stillhouse.postgres import account as accounts
from stillhouse.postgres.account import Account

# Brings `lo` up (SIOCSIFFLAGS, IFF_UP: netdevice(7)), says so, and keeps the network until our end of the pipe is gone.
_MAKE = """\
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 1))
print("up", flush=True)
sys.stdin.read()
"""
_SECONDS = 30.0


@dataclass(frozen=True)
class Network:
    """Open namespaces: they last as long as these descriptors, or a process that is in them.

    `user` is the user namespace that owns the network, where it was not root who made it.
    """

    net: int
    user: int | None

    def entering(self, account: Account | None, command: Sequence[str | Path]) -> list[str | Path]:
        """What runs `command` in this network as `account`, when we run it as ourselves."""
        opened = f"/proc/{os.getpid()}/fd"
        enter = [f"--net={opened}/{self.net}"]
        if self.user is not None:  # where we are who we are outside, without any right
            enter += [f"--user={opened}/{self.user}", "--preserve-credentials"]
        elif account is not None:
            enter += [f"--setuid={account.uid}", f"--setgid={account.gid}"]
        return ["nsenter", *enter, "--", *command]

    def holds(self, process: int) -> bool:
        """Whether that process is in this network."""
        try:
            return os.path.samestat(os.fstat(self.net), _namespace(process, "net").stat())
        except OSError:
            return False


@contextmanager
def new_network() -> Iterator[Network]:
    """One that is there until the block ends, and for as long as somebody is in it then. Raises RestoreFailed.

    Root needs no user namespace. Anybody else gets one in which he is who he was: so peers go on knowing him.
    """
    alone = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    command = ["unshare", "--net", *alone, "--", sys.executable, "-I", "-S", "-c", _MAKE]
    with ExitStack() as stack:
        with tempfile.TemporaryFile() as told:
            try:
                maker = accounts.start(
                    None, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told
                )
            except OSError as error:
                raise _refused(str(error)) from error
            assert maker.stdin is not None
            assert maker.stdout is not None
            with maker:  # which closes its pipes, and waits
                is_up = maker.stdout.readline().strip() == b"up"
                network = stack.enter_context(_opened(maker.pid)) if is_up else None
            if network is None:
                told.seek(0)
                raise _refused(told.read().decode(errors="replace"))
        yield network


@contextmanager
def network_of(process: int) -> Iterator[Network | None]:
    """The network that a server is in; None when it is that of this host, or the server is gone."""
    with ExitStack() as stack:
        try:
            is_the_hosts = os.path.samestat(
                _namespace(process, "net").stat(), Path("/proc/self/ns/net").stat()
            )
            network = None if is_the_hosts else stack.enter_context(_opened(process))
        except OSError:
            network = None
        yield network


@cache
def why_none() -> str:
    """Why this host gives clones no network of their own; empty when it does. Found out once, by making one."""
    try:
        with new_network() as network:
            tried = accounts.run(None, network.entering(None, ["/bin/true"]), timeout=_SECONDS)
            return _last_line(tried.stderr) if tried.returncode else ""
    except (RestoreFailed, OSError, subprocess.TimeoutExpired) as error:
        return str(error)


@contextmanager
def _opened(process: int) -> Iterator[Network]:
    with ExitStack() as stack:

        def opened(kind: str) -> int:
            descriptor = os.open(_namespace(process, kind), os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return descriptor

        yield Network(opened("net"), None if os.geteuid() == 0 else opened("user"))


def _namespace(process: int, kind: str) -> Path:
    return Path("/proc", str(process), "ns", kind)


def _refused(reason: str) -> RestoreFailed:
    return RestoreFailed(
        f"this host gives a clone no network of its own: {_last_line(reason)}",
        hint="it takes unshare(1) and nsenter(1), and root with CAP_SYS_ADMIN or user namespaces that anybody may make",
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]
