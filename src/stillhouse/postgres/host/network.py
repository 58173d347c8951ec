"""Network namespaces: an empty network for each clone, with no connection to any other (network_namespaces(7)).

Sockets that are named by a path belong to no network. Through them we reach the servers in a namespace. Only directory
modes keep these servers from the sockets of others.
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
from stillhouse.postgres.host import account as accounts
from stillhouse.postgres.host.account import Account

# Brings `lo` up (SIOCSIFFLAGS, IFF_UP: netdevice(7)), says so, and keeps the network until our end of the pipe closes.
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
    """Open namespaces. They last as long as these descriptors are open, or a process is in them.

    `user` is the user namespace that owns the network. Only a network that root did not make has one.
    """

    net: int
    user: int | None

    def entering(self, account: Account | None, command: Sequence[str | Path]) -> list[str | Path]:
        """Return a command line that runs `command` in this network as `account`. Run it as our own account."""
        opened = f"/proc/{os.getpid()}/fd"
        enter = [f"--net={opened}/{self.net}"]
        if self.user is not None:  # inside we have the same uid as outside, and no rights
            enter += [f"--user={opened}/{self.user}", "--preserve-credentials"]
        elif account is not None:
            enter += [f"--setuid={account.uid}", f"--setgid={account.gid}"]
        return ["nsenter", *enter, "--", *command]

    def holds(self, process: int) -> bool:
        """Whether the process is in this network."""
        try:
            return os.path.samestat(os.fstat(self.net), _namespace(process, "net").stat())
        except OSError:
            return False


@contextmanager
def new_network() -> Iterator[Network]:
    """Make a network that lasts until the block ends and all processes in it have ended. Raises RestoreFailed.

    Root needs no user namespace. Any other account gets a user namespace in which it keeps its uid, so that peer
    authentication still recognises it.
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
            with maker:  # closes its pipes, and waits for its end
                is_up = maker.stdout.readline().strip() == b"up"
                network = stack.enter_context(_opened(maker.pid)) if is_up else None
            if network is None:
                told.seek(0)
                raise _refused(told.read().decode(errors="replace"))
        yield network


@contextmanager
def network_of(process: int) -> Iterator[Network | None]:
    """Open the network that a server is in. `None` if it is this host's network, or the server is gone."""
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
    """Say why this host cannot give clones a network of their own. Empty if it can. Tried once, by making one."""
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
        hint="this needs unshare(1) and nsenter(1), and either root with CAP_SYS_ADMIN or unprivileged user namespaces",
    )


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]
