"""The address at which clients on other hosts reach the clusters that we make, and the certificate that they see there.

A cluster's coordinator listens there beside its loopback address, at its own port. Data nodes do not.
"""

import ipaddress
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import InvalidInput
from stillhouse.postgres.files.tree import Tree

# Beside the data directory: the server reads them as its own account.
_CERTIFICATE, _KEY = "clients.crt", "clients.key"
_LISTEN = "0A"
_ENCRYPTED = {
    "ssl": "on",
    "ssl_cert_file": f"../{_CERTIFICATE}",
    "ssl_key_file": f"../{_KEY}",
    "ssl_ca_file": "",
    "ssl_crl_file": "",
    "ssl_crl_dir": "",
    "ssl_passphrase_command": "",
}


@dataclass(frozen=True)
class Outside:
    """`name` is the address as clients know it, `address` its number. Without a certificate nothing is encrypted."""

    name: str
    address: str
    certificate: Path | None = None
    key: Path | None = None

    @property
    def access_rule(self) -> str:
        """The line of pg_hba.conf that lets clients in."""
        return f"{'hostssl' if self.certificate else 'host   '} all all all scram-sha-256\n"

    def settings(self, node: Node) -> dict[str, str]:
        encrypted = _ENCRYPTED if self.certificate else {}
        return {"listen_addresses": f"{node.host},{self.address}", **encrypted}

    def renew_certificate(self, tree: Tree) -> bool:
        """Give the server the certificate as it is now. Returns whether it was another one. Raises InvalidInput."""
        renewed = False
        for source, name in ((self.key, _KEY), (self.certificate, _CERTIFICATE)):
            if source is None:
                continue
            try:
                content = source.read_bytes()
            except OSError as error:
                raise InvalidInput(f"{source} cannot be read: {error}") from error
            if name not in tree.names("") or tree.read(name) != content:
                tree.replace(name, content)
                renewed = True
        return renewed


def outside_at(listen: str, certificate: Path | None, key: Path | None, *, insecure: bool) -> Outside | None:
    """Return the outside of the clusters; `None` if they are reached on this host alone. With `insecure` clients
    send their data in the open.

    Raises InvalidInput if the address is none of this host's, or if there is no certificate.
    """
    if not listen:
        return None
    try:
        number = socket.gethostbyname(listen)
    except (OSError, UnicodeError) as error:
        raise InvalidInput(f"clusters cannot listen on {listen[:80]}: {error}") from error
    address = ipaddress.ip_address(number)
    if address.is_unspecified:
        raise InvalidInput(
            f"clusters cannot listen on all addresses ({listen})",
            hint="give the one that clients use: --listen-clusters names it to them, too",
        )
    if address.is_loopback:
        raise InvalidInput(f"{listen} is this host's loopback, where clusters listen anyway")
    if certificate is None and not insecure:
        raise InvalidInput(
            f"clusters are not served without TLS on {listen}, where others could read on the way",
            hint="give --tls-cert and --tls-key, which the clusters use as well, or accept it by --insecure",
        )
    with socket.socket() as probe:
        try:
            probe.bind((number, 0))
        except OSError as error:
            raise InvalidInput(f"clusters cannot listen on {listen}: {error}") from error
    return Outside(listen, number) if insecure else Outside(listen, number, certificate, key)


def faces_outside(node: Node) -> bool:
    """Whether clients log in to this node."""
    return node.role is Role.CN


def listeners(port: int, uid: int) -> list[str]:
    """Return this host's IPv4 addresses on which an account's processes listen at `port` (proc_net_tcp.txt in Linux).

    Addresses are told as four bytes in the order of the processor.
    """
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, _, _, _, owner, *_ = line.split()
        address, _, number = local.partition(":")
        if state == _LISTEN and int(number, 16) == port and int(owner) == uid:
            found.append(socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder)))
    return found
