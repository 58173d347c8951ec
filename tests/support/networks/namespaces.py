"""Hosts as network namespaces, joined by a switch in one of its own: each has an address, and a loopback for itself."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
SUBNET = "10.77.0"


@dataclass(frozen=True)
class Host:
    """`address` is seen by the other hosts alone."""

    name: str
    address: str
    namespace: str
    switch: str
    port: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The present thread is on this host until the end, as are the threads and processes that it starts."""
        with (
            Path("/proc/thread-self/ns/net").open() as back,
            Path("/run/netns", self.namespace).open() as here,
        ):
            _enter(here.fileno())
            try:
                yield
            finally:
                _enter(back.fileno())

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """The cable is pulled at the switch: all that this host sends is dropped, and all that is sent to it. No
        connection is told. (Newer kernels take a port of a bridge back from any state that is set by hand.)
        """
        _ip("-n", self.switch, "link", "set", self.port, "down")
        try:
            yield
        finally:
            _ip("-n", self.switch, "link", "set", self.port, "up")


def why_none() -> str:
    """Say why this machine can have no such hosts. Empty if it can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "iproute2 is not installed: apt-get install iproute2"
    try:
        with network(["a"]):
            return ""
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.decode().strip()}"


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Host]]:
    """Hosts of these names. What is started on them must have ended before the end."""
    tag = f"sh{os.getpid()}"
    switch = f"{tag}-switch"
    hosts = {
        name: Host(name, f"{SUBNET}.{number}", f"{tag}-{name}", switch, f"port{number}")
        for number, name in enumerate(names, 1)
    }
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        for host in hosts.values():
            _plug_in(host)
        yield hosts
    finally:
        for namespace in (switch, *(host.namespace for host in hosts.values())):
            if Path("/run/netns", namespace).exists():
                _ip("netns", "delete", namespace)


def _plug_in(host: Host) -> None:
    _ip("netns", "add", host.namespace)
    far = "peer", "name", "eth0", "netns", host.namespace
    _ip("-n", host.switch, "link", "add", host.port, "type", "veth", *far)
    _ip("-n", host.switch, "link", "set", host.port, "master", "bridge")
    _ip("-n", host.switch, "link", "set", host.port, "up")
    _ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
    for link in ("lo", "eth0"):
        _ip("-n", host.namespace, "link", "set", link, "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


def _enter(descriptor: int) -> None:
    if _LIBC.setns(descriptor, 0) != 0:
        raise OSError(ctypes.get_errno(), "the network namespace cannot be entered")
