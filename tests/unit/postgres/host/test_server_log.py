"""The log of a server is bounded, whatever its tenant makes the server write there."""

from pathlib import Path

import pytest

from stillhouse.domain.cluster import Node, Role
from stillhouse.errors import FileRefused
from stillhouse.postgres.host.server_log import rotate


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(
        id="n",
        name="cn-1",
        role=Role.CN,
        host="127.0.0.1",
        port=1,
        directory=str(tmp_path),
        socket="/nowhere",
    )


def test_a_log_that_is_too_large_keeps_its_end_and_its_writer_goes_on(node: Node, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as server:
        for number in range(100):
            server.write(b"line %04d\n" % number)
        assert rotate(node, most_bytes=500, kept_bytes=100)
        assert (tmp_path / "server.log.1").read_bytes() == b"".join(
            b"line %04d\n" % n for n in range(90, 100)
        )
        server.write(b"the next line\n")
    assert log.read_bytes() == b"the next line\n"
    assert not rotate(node, most_bytes=500, kept_bytes=100)


def test_a_node_without_a_log_is_none_to_rotate(node: Node) -> None:
    assert not rotate(node)


def test_no_file_behind_a_link_is_emptied(node: Node, tmp_path: Path) -> None:
    other = tmp_path / "of-somebody-else"
    other.write_bytes(b"a" * 1000)
    (tmp_path / "server.log").symlink_to(other)
    with pytest.raises(FileRefused):
        rotate(node, most_bytes=10, kept_bytes=10)
    assert other.stat().st_size == 1000
