"""Of many settings those that a host can honour, found by trying: no list of what may be wrong is ever whole."""

from collections.abc import Callable, Mapping, Sequence

Item = tuple[str, str]
"""A setting's name and its value, or one of several libraries that make up the value."""

WhyNot = Callable[[Sequence[Item]], str]
"""Why it cannot be these together; empty when it can."""

# Of these each library counts for itself.
LISTS = frozenset({"shared_preload_libraries", "session_preload_libraries", "local_preload_libraries"})


def items_of(settings: Mapping[str, str]) -> list[Item]:
    return [
        (name, part)
        for name, value in settings.items()
        for part in (_libraries(value) if name in LISTS else [value])
    ]


def settings_of(items: Sequence[Item]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name, value in items:
        settings[name] = f"{settings[name]}, {value}" if name in settings and name in LISTS else value
    return settings


def sift(items: Sequence[Item], why_not: WhyNot) -> tuple[list[Item], dict[Item, str]]:
    """As many as can be had together, in the order given, and of each of the others why it cannot be.

    By halves: of n items, k of which cannot be, in the order of k log n tries. That nothing at all can be is for the
    caller to know.
    """
    refused: dict[Item, str] = {}

    def add(kept: list[Item], more: Sequence[Item]) -> list[Item]:
        if not more:
            return kept
        reason = why_not([*kept, *more])
        if not reason:
            return [*kept, *more]
        if len(more) == 1:
            refused[more[0]] = reason
            return kept
        half = len(more) // 2
        return add(add(kept, more[:half]), more[half:])

    return add([], items), refused


def _libraries(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]
