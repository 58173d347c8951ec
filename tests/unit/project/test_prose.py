"""Docstrings and documents are in plain words: their sentences name the thing that they speak of."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "stillhouse"
PACKAGES = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
DOCUMENTS = [
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY")),
]
MOST = 8  # per 1,000 words

_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)
_VAGUE = re.compile(r"\b(?:what|whatever|whoever|whose|nobody|none|such)\b", re.IGNORECASE)
# A sentence begins the text, a paragraph or an item, or follows another one. "What" and "Whoever" are vague anywhere.
_BEGINNING = re.compile(r"(?:^|[.!?:]\s+|\n\s*\n\s*|\n\s*[-*]\s+)(?:Of|Those)\b")


def _docstrings(modules: Iterable[Path]) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for module in modules for node in ast.walk(ast.parse(module.read_text()))]
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]


def _faults(texts: Iterable[str]) -> tuple[float, list[str]]:
    """Return how many vague words and beginnings there are per 1,000 words, and each with the words around it."""
    plain = [_CODE.sub("", text) for text in texts]
    places = [
        text[max(0, found.start() - 30) : found.end() + 30]
        for text in plain
        for pattern in (_VAGUE, _BEGINNING)
        for found in pattern.finditer(text)
    ]
    return 1000 * len(places) / sum(len(text.split()) for text in plain), places


def test_vague_words_and_beginnings_are_counted_but_code_is_not() -> None:
    density, places = _faults(
        ["What it read. Of two writers", "the second `None` wins:\n\n- Those of `such` a name"]
    )

    assert len(places) == 3, places
    assert density == 1000 * 3 / 14


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_of_a_package_are_in_plain_words(package: str) -> None:
    density, places = _faults(_docstrings((SOURCE / package).rglob("*.py")))

    assert density <= MOST, places


def test_docstrings_of_the_modules_beside_the_packages_are_in_plain_words() -> None:
    density, places = _faults(_docstrings(SOURCE.glob("*.py")))

    assert density <= MOST, places


def test_documents_are_in_plain_words() -> None:
    density, places = _faults([document.read_text() for document in DOCUMENTS])

    assert density <= MOST, places
