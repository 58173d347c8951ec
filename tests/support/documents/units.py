"""The unit of systemd in `deploy`, as text: with another program, with drop-ins, and by its fields."""

import re
from pathlib import Path

_DIRECTORY = Path(__file__).parents[3] / "deploy" / "systemd"
UNIT = (_DIRECTORY / "stillhouse.service").read_text()
ACCOUNTS = _DIRECTORY / "accounts.conf"
COMMAND = "/opt/stillhouse/bin/stillhouse"


def unit_with(program: str, *drop_ins: Path) -> str:
    return "\n".join([UNIT.replace(COMMAND, program), *(path.read_text() for path in drop_ins)])


def field_of(unit: str, name: str) -> str:
    """Return the value that systemd takes: the last one, as far as none is a list."""
    return str(re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)[-1])
