"""A process that provisions a cluster and, at its Nth step that is seen from outside, kills itself as -9 does.

    python -m support.processes.provision_process <data> <pg_bin> <cluster id> <number of nodes> <step to die at, or 0>

Steps are programs run, files renamed, and statements sent; it dies just before half of them, just after the others.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from stillhouse.postgres.host import account
from stillhouse.warehouse.cluster import embedded
from support.servers.warehouses import PASSWORD, PORT, USER


def main() -> None:
    data, pg_bin, cluster_id, number_of_node, fatal_step = sys.argv[1:]
    site = embedded.open_site(Path(data), pg_bin=Path(pg_bin))
    steps = _Steps(int(fatal_step))
    for owner, name in ((account, "run"), (Path, "rename"), (psycopg.Connection, "execute")):
        setattr(owner, name, steps.counted(getattr(owner, name)))
    spec = embedded.ClusterSpec(cluster_id, int(number_of_node), PORT, USER, PASSWORD)
    embedded.provision(site, spec)


class _Steps:
    def __init__(self, fatal: int) -> None:
        self._fatal = fatal
        self._taken = 0
        self._lock = threading.Lock()

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self._taken += 1
                fatal = self._taken == self._fatal
            if fatal and self._fatal % 2:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = function(*arguments, **named)
            if fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return step


if __name__ == "__main__":
    main()
