"""Write the bill of materials of the service, CycloneDX 1.5 in JSON, from the lock file that it is installed from."""

import json
import re
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "locks" / "run.lock"
# `name==version`, perhaps with extras and a marker, then the hashes of the files that may be installed.
_PINNED = re.compile(
    r"^(?P<name>[a-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?P<rest>.*)", re.IGNORECASE
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


def components(lock: str) -> list[dict[str, object]]:
    """Return the packages of a lock file. Raises ValueError for a line that pins nothing."""
    found = []
    for line in re.sub(r"\\\n\s*", " ", lock).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pinned = _PINNED.match(line)
        if pinned is None:
            raise ValueError(f"not a pinned package: {line[:100]}")
        reference = f"pkg:pypi/{pinned['name'].lower().replace('_', '-')}@{pinned['version']}"
        found.append(
            {
                "type": "library",
                "bom-ref": reference,
                "name": pinned["name"],
                "version": pinned["version"],
                "purl": reference,
                "hashes": [{"alg": "SHA-256", "content": one} for one in _HASH.findall(pinned["rest"])],
            }
        )
    return found


def bill(lock: str, version: str) -> dict[str, object]:
    """Return the document. The same lock file gives the same document, its serial number included."""
    listed = components(lock)
    ours = f"pkg:pypi/stillhouse@{version}"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, ours + lock)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": ours,
                "name": "stillhouse",
                "version": version,
                "purl": ours,
            }
        },
        "components": listed,
        "dependencies": [{"ref": ours, "dependsOn": [one["bom-ref"] for one in listed]}],
    }


def main() -> int:
    """Write the document to the file that is named."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(bill(LOCK.read_text(), version), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
