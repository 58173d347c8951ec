"""The house rules that can be counted: sizes of functions, files and folders, names of modules, words of packages.

A place that still breaks a limit is listed below with its present size. It may shrink but not grow, and its line goes
as soon as it keeps the limit.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "src" / "stillhouse"
PACKAGES = sorted(path.parent for path in SOURCE.rglob("__init__.py"))
MODULES = sorted(SOURCE.rglob("*.py"))

FUNCTION_LINES, FILE_LINES, FOLDER_MODULES = 60, 400, 13
WIDE_FOLDERS = {"domain": 18} | {
    str(path.relative_to(SOURCE)): 18 for path in PACKAGES if "postgres" in path.relative_to(SOURCE).parts
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "misc"}

LONG_FUNCTIONS = {
    # One migration makes all tables, and released migrations are not edited.
    "catalog/migrations/versions/0001_create_the_catalog.py::upgrade": 165,
}
LONG_FILES: dict[str, int] = {}
FULL_FOLDERS: dict[str, int] = {}


def _name(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def _too_large(sizes: dict[str, int], limit: int, known: dict[str, int]) -> dict[str, int]:
    """The sizes that are above both the limit and the size that is known of them."""
    return {name: size for name, size in sizes.items() if size > max(limit, known.get(name, 0))}


def _shrunk(sizes: dict[str, int], known: dict[str, int]) -> dict[str, int]:
    """The known sizes that are not true any more, with the present size."""
    return {name: sizes.get(name, 0) for name, size in known.items() if sizes.get(name, 0) != size}


def _functions(tree: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{node.name}" if isinstance(node, ast.stmt) and hasattr(node, "name") else prefix
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, (node.end_lineno or 0) - node.lineno + 1
        yield from _functions(node, name if name == prefix else f"{name}.")


def _function_sizes() -> dict[str, int]:
    return {
        f"{_name(module)}::{name}": lines
        for module in MODULES
        for name, lines in _functions(ast.parse(module.read_text()), "")
    }


def _file_sizes() -> dict[str, int]:
    return {_name(module): len(module.read_text().splitlines()) for module in MODULES}


def _folder_sizes() -> dict[str, int]:
    return {
        _name(folder): len([path for path in folder.glob("*.py") if path.name != "__init__.py"])
        for folder in PACKAGES
    }


def test_no_function_is_longer_than_a_screen() -> None:
    assert _too_large(_function_sizes(), FUNCTION_LINES, LONG_FUNCTIONS) == {}


def test_no_file_is_too_long_to_read_at_once() -> None:
    assert _too_large(_file_sizes(), FILE_LINES, LONG_FILES) == {}


def test_no_folder_is_too_full_to_survey() -> None:
    assert _too_large(_folder_sizes(), FOLDER_MODULES, WIDE_FOLDERS | FULL_FOLDERS) == {}


def test_exceptions_only_shrink() -> None:
    assert _shrunk(_function_sizes(), LONG_FUNCTIONS) == {}
    assert _shrunk(_file_sizes(), LONG_FILES) == {}
    assert _shrunk(_folder_sizes(), FULL_FOLDERS) == {}


def test_names_say_what_is_inside() -> None:
    names = {_name(path): path.stem for path in MODULES} | {_name(path): path.name for path in PACKAGES}
    vague = {
        where
        for where, name in names.items()
        if name in FORBIDDEN_NAMES or name.endswith(("_more", "_manager"))
    }
    assert not vague


@pytest.mark.parametrize("package", PACKAGES, ids=_name)
def test_a_package_says_in_one_sentence_what_it_holds(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert text.endswith(".")
    assert "\n\n" not in text
    assert ". " not in text.replace("e.g. ", "").replace("i.e. ", "")


def test_the_rules_notice_what_breaks_them() -> None:
    """A function in a class in a function is found, and a known exception may neither grow nor stay when it shrank."""
    body = "    class Inner:\n        def deep(self):\n" + "            pass\n" * 61
    assert dict(_functions(ast.parse(f"def outer():\n{body}"), ""))["outer.Inner.deep"] == 62
    assert _too_large({"a": 61, "b": 70, "c": 60}, 60, {"b": 69}) == {"a": 61, "b": 70}
    assert _shrunk({"a": 61, "b": 70}, {"a": 62, "b": 70, "gone": 99}) == {"a": 61, "gone": 0}
