"""How long nobody leads when the replica that led ends: `make bench-takeover`.

It is killed by kill -9, or its host is cut off without a word, and the seconds count until the other replica leads. For
the cut, it is also measured until the one that led begins nothing any more. The hosts are network namespaces, so this
wants root.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import write_result

from support.networks.replica_hosts import ReplicaHosts, replica_hosts

_LEADS, _LOST = "this replica leads now", "the hold of the catalog is lost"


def killed(pair: ReplicaHosts) -> dict[str, float]:
    lost, heir = pair.leader, pair.follower
    before, begun = heir.log.read_text().count(_LEADS), time.monotonic()
    lost.kill()
    heir.until("another leader", lambda: heir.log.read_text().count(_LEADS) > before)
    found = {"another leads": time.monotonic() - begun}
    heir.until("its work", lambda: pair.is_leading(heir))
    found["its flows go on"] = time.monotonic() - begun
    pair.start(lost)
    return found


def cut_off(pair: ReplicaHosts) -> dict[str, float]:
    lost, heir = pair.leader, pair.follower
    before, begun = heir.log.read_text().count(_LEADS), time.monotonic()
    noticed = lost.log.read_text().count(_LOST)
    found: dict[str, float] = {}
    waits: dict[str, Callable[[], bool]] = {
        "the one that led begins nothing": lambda: lost.log.read_text().count(_LOST) > noticed,
        "another leads": lambda: heir.log.read_text().count(_LEADS) > before,
    }
    with pair.host_of(lost).cut_off():
        while waits:
            for name in [name for name, holds in waits.items() if holds()]:
                found[name] = time.monotonic() - begun
                del waits[name]
            time.sleep(0.02)
    begun = time.monotonic()
    lost.until("its end", lambda: not lost.is_alive)
    found["it ends, once it is back"] = time.monotonic() - begun
    pair.start(lost)
    return found


def medians(rounds: list[dict[str, float]]) -> dict[str, Any]:
    return {
        name: {
            "median": round(statistics.median(one[name] for one in rounds), 1),
            "all": [round(one[name], 1) for one in rounds],
        }
        for name in rounds[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shb-", dir="/var/tmp") as place:
        Path(place).chmod(0o755)
        with replica_hosts(Path(place) / "pair") as pair:
            found = {
                act.__name__: medians([act(pair) for _ in range(options.rounds)]) for act in (killed, cut_off)
            }
    print(found)
    write_result("takeover", found)


if __name__ == "__main__":
    main()
