"""`stillhouse completion`, as bash, zsh and fish themselves make use of it."""

from pathlib import Path

import pytest

from support.terminal import shells

WORDS = [
    ("sn", {"snapshot"}),
    ("snapshot re", {"restore", "restore-tables"}),
    ("snapshot create first --clus", {"--cluster"}),
    ("completion ", {"bash", "fish", "zsh"}),
]


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shells.write_scripts(tmp_path_factory.mktemp("completion"))


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_bash_completes_it(scripts: Path, typed: str, wanted: set[str]) -> None:
    assert shells.completed_by_bash(scripts, typed) == wanted


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_fish_completes_it(scripts: Path, tmp_path: Path, typed: str, wanted: set[str]) -> None:
    assert shells.completed_by_fish(scripts, tmp_path, typed) == wanted


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_zsh_completes_it(scripts: Path, tmp_path: Path, typed: str, wanted: set[str]) -> None:
    assert "serve" not in shells.shown_by_zsh(scripts, tmp_path, typed, wanted)
