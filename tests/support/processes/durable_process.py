"""A process for the fault tests of `durable`: serves flows over one data directory until it is killed.

Usage: python durable_process.py DATA [SUBJECT]; with a subject, it also starts the flow `chain` for it.
Each step leaves one line in DATA/steps; the step `slow` then hangs until DATA/go exists.
"""

import os
import sys
import time
from pathlib import Path

from stillhouse.catalog.schema.commits import after_commit
from stillhouse.catalog.schema.database import Database
from stillhouse.data_lock import lock_data_directory
from stillhouse.durable.flows import Flows, StepRunner


def serve(data: Path, subject: str | None) -> None:
    def note(step: str) -> str:
        with (data / "steps").open("a") as steps:
            steps.write(f"{step} {os.getpid()}\n")
        return step

    def slow(step: str) -> str:
        note(step)
        while not (data / "go").exists():
            time.sleep(0.01)
        return step

    def child(run: StepRunner, name: str) -> list[str]:
        return [run.step("first", note, f"{name}.first"), run.step("slow", slow, f"{name}.slow")]

    def chain(run: StepRunner, name: str) -> list[str]:
        before = run.step("before", note, f"{name}.before")
        children = [run.start_child("child", f"{name}.{side}") for side in ("left", "right")]
        results = [result for started in children for result in run.wait(started)]
        return [before, *results, run.step("after", note, f"{name}.after")]

    with lock_data_directory(data):
        database = Database.in_directory(data)
        database.migrate()
        flows = Flows(database.url, after_commit)
        flows.register("chain", chain)
        flows.register("child", child)
        flows.launch()
        if subject:
            with database.transaction() as transaction:
                (data / "flow").write_text(flows.enqueue(transaction, "chain", subject))
        print("serving", flush=True)  # noqa: T201
        sys.stdin.read()
        drained = flows.shutdown(within_seconds=1)
        os._exit(0 if drained else 3)


if __name__ == "__main__":
    serve(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
