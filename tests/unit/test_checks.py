"""Looks at several things at once."""

import threading

from stillhouse.checks import Checks


def test_a_look_that_hangs_is_told_and_holds_up_no_other() -> None:
    checks, go_on, looks = Checks(), threading.Event(), []

    def hang() -> list[str]:
        looks.append(1)
        go_on.wait(30)
        return []

    def both(patience: float) -> dict[str, list[str]]:
        return checks.look({"stuck": hang, "well": list}, patience)

    assert both(0.05) == {"stuck": ["no answer within 0.05 s"], "well": []}
    assert both(0.05)["stuck"] == ["no answer within 0.05 s"] and len(looks) == 1
    go_on.set()
    assert both(30) == {"stuck": [], "well": []}


def test_a_look_that_breaks_is_not_well() -> None:
    told: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, told.append
    try:
        found = Checks().look({"broken": lambda: [str(1 // 0)]}, 30)
    finally:
        threading.excepthook = before
    assert "log" in found["broken"][0] and told[0].exc_type is ZeroDivisionError
