"""`stillhouse completion`, as bash, zsh and fish themselves make use of it."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = [
    ("sn", {"snapshot"}),
    ("snapshot re", {"restore", "restore-tables"}),
    ("snapshot create first --clus", {"--cluster"}),
    ("completion ", {"bash", "fish", "zsh"}),
]

_IN_BASH = """
source "$1"; shift
said=$(complete -p stillhouse); said=${said#*-F }; function=${said%% *}
COMP_WORDS=(stillhouse "$@"); COMP_CWORD=$#; COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}
"$function" stillhouse "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the script of each shell, under the name that zsh wants."""
    place = tmp_path_factory.mktemp("completion")
    for name in ("bash", "zsh", "fish"):
        command = [sys.executable, "-m", "stillhouse", "completion", name]
        (place / name).mkdir()
        with (place / name / "_stillhouse").open("wb") as script:
            subprocess.run(command, check=True, stdout=script)
    return place


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_bash_completes_it(scripts: Path, typed: str, wanted: set[str]) -> None:
    command = [shell("bash"), "--norc", "-c", _IN_BASH, "-", str(scripts / "bash" / "_stillhouse")]
    done = subprocess.run([*command, *typed.split(" ")], check=True, capture_output=True, text=True)
    assert ({*done.stdout.split()}, done.stderr) == (wanted, "")


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_fish_completes_it(scripts: Path, tmp_path: Path, typed: str, wanted: set[str]) -> None:
    script = f"source {scripts}/fish/_stillhouse; complete -C 'stillhouse {typed}'"
    done = subprocess.run(
        [shell("fish"), "--no-config", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(tmp_path)},
        cwd=tmp_path,  # fish offers files beside them, and here are none
    )
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == wanted


@pytest.mark.parametrize(("typed", "wanted"), WORDS)
def test_zsh_completes_it(scripts: Path, tmp_path: Path, typed: str, wanted: set[str]) -> None:
    """zsh has completion only at a terminal. Tab writes the only word that fits, and lists several."""
    (tmp_path / ".zshrc").write_text(
        f"fpath=({scripts}/zsh $fpath); autoload -U compinit; compinit -u -D\n"
        "PS1='ready>'; LISTMAX=0; setopt no_beep\n"
    )
    said = _at_a_terminal([shell("zsh"), "-d", "-i"], tmp_path, f"stillhouse {typed}\t\t", wanted)
    assert "serve" not in said


def _at_a_terminal(command: list[str], home: Path, typed: str, wanted: set[str]) -> str:
    """Type at a shell's first prompt, and return what it shows after that, when all that is wanted has come."""
    process, terminal = pty.fork()
    if process == 0:
        os.execve(command[0], command, {"HOME": str(home), "ZDOTDIR": str(home), "TERM": "xterm", "PATH": ""})
    said = ""
    try:
        while "ready>" not in said:
            said += os.read(terminal, 4096).decode()
        os.write(terminal, typed.encode())
        said = ""
        while not all(re.search(rf"(?<![a-z-]){word}(?![a-z-])", said) for word in wanted):
            said += os.read(terminal, 4096).decode()
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(terminal)
    return said
