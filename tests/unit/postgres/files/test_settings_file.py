"""Configuration files are read as PostgreSQL reads them, and no others than the clone's own."""

import os
from pathlib import Path

import pytest

from stillhouse.postgres.files.settings_file import as_lines, parse_line, read_settings
from stillhouse.postgres.files.tree import Tree


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("work_mem = 4MB", ("work_mem", "4MB")),
        ("Work_Mem 4MB # more", ("work_mem", "4MB")),
        ("work_mem='4MB'#more", ("work_mem", "4MB")),
        ("a.b = 'it''s \\'so\\' \\\\ \\101 \\n'", ("a.b", "it's 'so' \\ A \n")),
        (r"a = 'caf\351 \303\251'", ("a", "caf\udce9 \udcc3\udca9")),  # bytes, not characters
        ("search_path = '\"$user\", public'", ("search_path", '"$user", public')),
        ("include 'more.conf'", ("include", "more.conf")),
        ("empty = ''", ("empty", "")),
        ("empty''", ("empty", "")),
        ("random_page_cost = -1.5e+1", ("random_page_cost", "-1.5e+1")),
        ("# work_mem = 4MB", None),
        ("work_mem =", None),
        ("work_mem = '4MB", None),
        ("work_mem = 4MB 5MB", None),
        ("", None),
    ],
)
def test_a_line_is_read_as_the_server_reads_it(line: str, setting: tuple[str, str] | None) -> None:
    assert parse_line(line) == setting


@pytest.mark.parametrize("value", ["", "it's", "a\\b", "\\101", "x\ny", "ü # no comment"])
def test_what_is_written_is_read_again(value: str) -> None:
    (line,) = as_lines({"a.b": value})
    assert parse_line(line) == ("a.b", value)


def test_includes_are_read_in_place_and_the_last_line_counts(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "main.conf").write_text(
        "one = 1\ntwo = 1\ninclude_dir 'conf.d'\ninclude_if_exists = 'no.conf'\ninclude 'loop.conf'\nthree = 3\n"
    )
    (tmp_path / "loop.conf").write_text("include 'loop.conf'\n")
    (tmp_path / "conf.d" / "b.conf").write_text("two = 'b'\n")
    (tmp_path / "conf.d" / "a.conf").write_text("two = 'a'\nTHREE = 1\n")
    (tmp_path / "conf.d" / ".hidden.conf").write_text("one = 'hidden'\n")
    (tmp_path / "conf.d" / "note.txt").write_text("one = 'note'\n")
    assert read_settings(Tree(tmp_path), "main.conf") == {"one": "1", "two": "b", "three": "3"}


def test_nothing_outside_of_the_directory_is_read(tmp_path: Path) -> None:
    home, secret = tmp_path / "home", tmp_path / "secret.conf"
    home.mkdir()
    secret.write_text("stolen = 'yes'\n")
    (home / "link.conf").symlink_to(secret)
    os.mkfifo(home / "pipe.conf")
    (home / "main.conf").write_text(
        f"include '{secret}'\ninclude '../secret.conf'\ninclude 'link.conf'\ninclude 'pipe.conf'\ninclude_dir '..'\n"
    )
    assert read_settings(Tree(home), "main.conf") == {}
