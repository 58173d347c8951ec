"""`make torture ROUNDS=200 PG=18 READER=remote SEED=1`: many rounds on one version; what came of them is told."""

import argparse
import json
import os
import platform
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from torture.readers import Reader
from torture.rounds import Torture, torturing

RESULTS = Path(__file__).parents[2] / "bench" / "results" / "torture.json"
NEWEST = 18
ROOM = 4 << 30


def run(rounds: int, major: int, seed: int, reader: Reader, data: Path) -> dict[str, Any]:
    """What came of it; when it breaks off, that is shown before."""
    begun, broken = time.monotonic(), ""
    with torturing(data, major, seed, reader) as torture:
        try:
            for number in range(1, rounds + 1):
                torture.round(number)
                seconds = time.monotonic() - begun
                print(f"PG {major} {reader} seed {seed} round {number}: {seconds:.0f} s", flush=True)
            torture.restore_all()
        except Exception as error:
            broken = f"{type(error).__name__}: {error}"
            raise
        finally:
            result = {"reader": reader, **told(torture, seed, time.monotonic() - begun, broken)}
            print(json.dumps(result, indent=1))
    return result


def told(torture: Torture, seed: int, seconds: float, broken: str) -> dict[str, Any]:
    tally = torture.tally
    return {
        "postgresql": torture.version,
        "seed": seed,
        "rounds": tally.rounds,
        "captures": dict(tally.captures.most_common()),
        "attempts_interrupted": dict(tally.interrupted.most_common()),
        "files": dict(tally.files.most_common()),
        "pages_stored": tally.pages_stored,
        "restores": tally.restores,
        "mismatches": tally.mismatches,
        "broken_off": broken,
        "steps_done": dict(torture.load.done.most_common()),
        "steps_refused": dict(torture.load.failed.most_common()),
        "seconds": round(seconds),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def place() -> Path:
    """In memory where there is room: a disk's fsyncs would take most of the time and prove nothing here."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > ROOM
    data = Path(tempfile.mkdtemp(prefix="sht-", dir=memory if roomy else "/var/tmp"))
    data.chmod(0o755)
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--pg", type=int, choices=range(15, NEWEST + 1), default=NEWEST)
    parser.add_argument("--reader", type=Reader, choices=[*Reader], default=Reader.LOCAL)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 31))
    parser.add_argument("--record", action="store_true", help=f"write the outcome to {RESULTS.name}")
    given = parser.parse_args()
    data = place()
    try:
        result = run(given.rounds, given.pg, given.seed, given.reader, data)
    finally:
        shutil.rmtree(data, ignore_errors=True)
    if given.record:
        known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        known.setdefault(str(given.pg), []).append(result)
        RESULTS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
