"""Tests are found where the source is: unit tests by its folders, shared code in folders that can be surveyed."""

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[2]
SOURCE = TESTS.parent / "src" / "stillhouse"
SUPPORT = TESTS / "support"
MOST_MODULES = 13
# Rules of documents, commits and the tree, which no module of the source holds.
OF_THE_PROJECT = "project"


def _modules(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.py") if path.name != "__init__.py")


def test_unit_tests_lie_in_folders_of_the_source() -> None:
    folders = {path.parent.relative_to(TESTS / "unit") for path in (TESTS / "unit").rglob("test_*.py")}
    assert [str(one) for one in folders if str(one) != OF_THE_PROJECT and not (SOURCE / one).is_dir()] == []


def test_shared_code_lies_in_folders_that_say_what_they_hold() -> None:
    assert _modules(SUPPORT) == []
    for folder in {path.parent for path in SUPPORT.rglob("*.py")} - {SUPPORT}:
        assert (folder / "__init__.py").read_text().startswith('"""'), folder.name
        assert len(_modules(folder)) <= MOST_MODULES, folder.name
        prefixes = Counter(name.split("_")[0] for name in _modules(folder) if "_" in name)
        assert [prefix for prefix, count in prefixes.items() if count >= 3] == [], folder.name


def test_no_two_test_files_have_one_name() -> None:
    """Folders of tests are no packages, so mypy takes each test file for a module of its bare name."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
