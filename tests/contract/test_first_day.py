"""The page on things that go wrong shows what the commands say: they are typed here, to a service over the wire."""

import os
import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from support.api.application import Service, serving_service
from support.processes.reader import ROOT
from support.processes.service import COMMAND

PAGE = (ROOT / "docs" / "first-day.md").read_text()
BLOCKS = [
    re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    if not language  # those marked as text need a server of somebody's, or a bucket
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """With a cluster and a snapshot of it, first."""
    with serving_service(tmp_path_factory.mktemp("first-day")) as running:
        cluster = running.add_cluster()
        taken = running.take_snapshot(cluster, "first", 5 << 20)
        running.store_snapshot(taken, cluster)
        yield running


def test_the_page_has_commands_to_type() -> None:
    assert sum(map(len, BLOCKS)) >= 10


@pytest.mark.parametrize("block", BLOCKS, ids=[block[0][0] for block in BLOCKS])
def test_the_commands_of_a_block_say_what_the_page_says(
    service: Service, block: list[tuple[str, str]]
) -> None:
    (cluster,) = service.list_clusters()
    place = service.client.environment
    for typed, said in block:
        command = typed.replace("stillhouse", shlex.join(COMMAND), 1).replace("orders", cluster["name"])
        done = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | place,
        )
        assert said
        for line in said.splitlines():
            assert line in done.stdout + done.stderr
