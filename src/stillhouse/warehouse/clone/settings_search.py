"""Find by trial which of many settings a host can honour. No list of possible problems would be complete."""

from collections.abc import Callable, Mapping, Sequence

Item = tuple[str, str]
"""A setting's name and its value, or one of several libraries that make up the value."""

WhyNot = Callable[[Sequence[Item]], str]
"""Why the host cannot honour these together; empty when it can."""

# Each library in these lists counts for itself.
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
    """As many items as the host honours together, in the order given, and for each other item the reason against it.

    It searches by halves: with n items, k of them bad, it needs about k log n tries. The caller must make sure that
    the host can honour an empty list.
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
