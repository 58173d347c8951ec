"""The table of metrics in `docs/monitoring.md`, generated from the code. `make metrics-docs` writes it."""

from pathlib import Path

from stillhouse import metrics
from stillhouse.control.reports.monitoring import ENGINE_GAUGES, GAUGES

PAGE = Path(__file__).parents[3] / "docs" / "monitoring.md"
_BEGIN, _END = "\n## All metrics\n", "\n## "
_PROCESS = {
    "process_cpu_seconds_total": ("counter", "Processor time of the service's process, without its workers"),
    "process_resident_memory_bytes": ("gauge", "Resident memory"),
    "process_virtual_memory_bytes": ("gauge", "Virtual memory"),
    "process_open_fds": ("gauge", "Open file descriptors"),
    "process_max_fds": ("gauge", "The most that may be open"),
    "process_start_time_seconds": ("gauge", "When the process began"),
}
_HEAD = """
Those with the labels `cluster` and `name` are there for each cluster that exists or has snapshots. Counters and
histograms begin anew with the process, all else is read from the catalog. Moments are seconds since 1970.

| Metric | Kind | Labels | Meaning |
|---|---|---|---|
"""


def described() -> list[metrics.Described]:
    """Return every metric with all its labels."""
    told = [
        metrics.Described(name, "gauge", ("cluster", "name", *one.labels), one.says)
        for name, one in GAUGES.items()
    ]
    told += [metrics.Described(name, "gauge", one.labels, one.says) for name, one in ENGINE_GAUGES.items()]
    for one in metrics.DESCRIBED:
        labels = tuple(
            name for label in one.labels for name in ((label, "name") if label == "cluster" else (label,))
        )
        told.append(one._replace(labels=labels))
    return told + [metrics.Described(name, kind, (), says) for name, (kind, says) in _PROCESS.items()]


def table() -> str:
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.says} |\n"
        for one in described()
    ]
    return _HEAD + "".join(rows)


def page() -> str:
    """Return the whole page as it should be."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, found, after = rest.partition(_END)
    return f"{before}{_BEGIN}{table()}{found}{after}"


if __name__ == "__main__":
    PAGE.write_text(page())
