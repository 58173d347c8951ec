"""Certificates that came with a registration: libpq reads them from a file, and no host has to have it."""

import subprocess
from pathlib import Path

from stillhouse.domain.cluster import Connection, Node, Role
from stillhouse.postgres.sessions.login import _ways

TEXT = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def file_of(text: str, ca_file: str = "") -> str:
    connection = Connection((("db.example.org", 5432),), "backup", ca_file=ca_file, ca_certificate=text)
    node = Node("id", "cn", Role.CN, "db.example.org", 5432, "", "", "l", secret="s", connection=connection)
    return _ways(node, "backup")[0]["sslrootcert"]


def test_the_text_lies_in_a_file_without_a_place_on_the_disk() -> None:
    name = file_of(TEXT)
    assert Path(name).read_text() == TEXT
    assert "memfd:" in str(Path(name).readlink())


def test_each_text_has_one_file_however_often_it_is_used() -> None:
    assert file_of(TEXT) == file_of(TEXT) != file_of(TEXT + "\n")


def test_programs_that_are_started_do_not_inherit_it() -> None:
    name = file_of(TEXT)
    assert subprocess.run(["cat", name], capture_output=True, check=False).returncode != 0


def test_a_file_of_the_operator_s_is_named_as_it_is() -> None:
    assert file_of("", "/etc/stillhouse/ca.pem") == "/etc/stillhouse/ca.pem"
