"""Looks at several things at once."""

import threading
from functools import partial

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


def test_what_was_well_is_not_looked_at_again_for_a_while_and_what_was_not_is() -> None:
    now, looks = [0.0], dict.fromkeys(("well", "ill", "each time"), 0)

    def look(name: str) -> list[str]:
        looks[name] += 1
        return ["pain"] if name == "ill" else []

    checks = Checks(lambda: now[0])
    for now[0] in (0.0, 9.9, 10.0, 15.0):
        found = checks.look({name: partial(look, name) for name in looks}, 30, {"well": 10.0, "ill": 10.0})
        assert found == {"well": [], "ill": ["pain"], "each time": []}
    assert looks == {"well": 2, "ill": 4, "each time": 4}


def test_a_look_that_breaks_is_not_well() -> None:
    told: list[threading.ExceptHookArgs] = []
    before, threading.excepthook = threading.excepthook, told.append
    try:
        found = Checks().look({"broken": lambda: [str(1 // 0)]}, 30)
    finally:
        threading.excepthook = before
    assert "log" in found["broken"][0] and told[0].exc_type is ZeroDivisionError
