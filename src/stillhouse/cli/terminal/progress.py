"""Bars for work of minutes: bytes, rate, time left; on a terminal only, and never on standard output."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from stillhouse.domain.reports.sizes import said_size

NewBar = Callable[[str, int], Callable[[int], None]]
"""Makes a bar from a name and its total bytes. Returns a function that takes the bytes done so far. For any thread."""


class _Rate(ProgressColumn):
    """The rate in units of 1024: rich's own column knows only units of 1000."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{said_size(speed)}/s" if speed else "?", style="progress.data.speed")


@contextmanager
def bars() -> Iterator[NewBar]:
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:

        def new_bar(name: str, total: int) -> Callable[[int], None]:
            task = progress.add_task(name, total=total)
            return lambda done: progress.update(task, completed=done)

        yield new_bar
