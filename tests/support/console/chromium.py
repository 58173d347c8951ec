"""Debian's Chromium, driven by Playwright, and axe-core 4.14.1 (`axe.min.js`, MPL-2.0), which finds barriers."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_PROGRAM = shutil.which("chromium") or "/usr/bin/chromium"
_AXE = Path(__file__).with_name("axe.min.js")

needs_chromium = pytest.mark.skipif(
    not Path(_PROGRAM).exists() and os.environ.get("CI") != "true", reason="chromium is not installed"
)


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_PROGRAM, args=["--no-sandbox"])
        yield browser
        browser.close()


def barriers(page: Page) -> list[str]:
    """The serious and critical violations that axe-core finds in the page."""
    found: Any = page.evaluate(f"{_AXE.read_text()}; axe.run({{resultTypes: ['violations']}})")
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))
