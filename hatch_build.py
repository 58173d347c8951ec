"""Compiles src/stillhouse/compiled.c into the wheel where there is a C compiler; else the wheel is pure Python.

`CC` names the compiler; with `CC=false` there is none.
"""

import os
import shlex
import subprocess
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "libstillhouse.so"
FLAGS = ("-std=c11", "-O3", "-Wall", "-Wextra", "-fPIC", "-shared")


class CompiledLoops(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile for a wheel into a directory that goes with the build; for an editable installation beside the
        source, where alone it is looked for.
        """
        package = Path(self.root, "src", "stillhouse")
        self._built = tempfile.TemporaryDirectory(dir=package if version == "editable" else None)
        library = Path(self._built.name, NAME)
        is_there = self._compile(package / "compiled.c", library)
        if version == "editable":
            if is_there:
                library.replace(package / NAME)  # a running service keeps the library that it has loaded
            else:
                (package / NAME).unlink(missing_ok=True)  # it may be of an older source
        elif is_there:
            build_data["force_include"][str(library)] = f"stillhouse/{NAME}"
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._built.cleanup()

    def _compile(self, source: Path, library: Path) -> bool:
        command = [*shlex.split(os.environ.get("CC", "cc")), *FLAGS, str(source), "-o", str(library)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            self.app.display_warning(f"compiled.c is left out: {error}")
            return False
        if done.returncode:
            self.app.display_warning(f"compiled.c is left out: {shlex.join(command)}\n{done.stderr}")
        return done.returncode == 0
