"""The documents say nothing that the tree can show to be untrue."""

import ast
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from stillhouse import errors
from stillhouse.api.document.glossary import terms
from stillhouse.cli.terminal.settings import OF_COMMANDS
from stillhouse.config import Settings
from stillhouse.domain.api_operations.all_operations import OPERATIONS, PUBLISHED
from stillhouse.domain.api_operations.extensions import EXTENSIONS
from stillhouse.domain.api_operations.snapshots import SNAPSHOTS
from stillhouse.errors import StillhouseError
from support.api.page import PAGE, page, place, routed, standing, unaccounted
from support.documents import settings_page

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "stillhouse"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# What would be of this machine, or of where packages came from, and of no use to anyone else.
_FOREIGN = re.compile(r"/work/|/root/|pypi\.org|pythonhosted|registry\.npmjs|proxy\.golang|crates\.io")


def _files() -> list[Path]:
    """Everything below the root that git would not ignore."""
    ignored = [".git", *(line.strip("/") for line in (ROOT / ".gitignore").read_text().split())]
    found: list[Path] = []
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if any(fnmatch(path.name, pattern) for pattern in ignored):
                continue
            (folders if path.is_dir() else found).append(path)
    return found


FILES = _files()
DOCUMENTS = [path for path in FILES if path.suffix == ".md"]
MODULES = [path for path in FILES if path.suffix == ".py" and path.is_relative_to(SOURCE)]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _section(title: str) -> str:
    return ARCHITECTURE.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]


def _anchors(document: Path) -> set[str]:
    """Headings as they are linked to: lower case, blanks as dashes, punctuation gone."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    for link in _LINK.findall(_FENCE.sub("", document.read_text())):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_file_named_is_there(document: Path) -> None:
    for code in _CODE.findall(_FENCE.sub("", document.read_text())):
        for path in re.findall(r"(?<![\w/.*])[\w.]+(?:/[\w.]+)*\.(?:py|sql|toml|lock)\b", code):
            assert any((base / path).is_file() for base in (ROOT, SOURCE, ROOT / "docs")), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_test_named_is_there(document: Path) -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text()):
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
            f"{path}::{name}"
        )


def test_every_promise_of_safety_names_its_test() -> None:
    tables = (ROOT / "docs" / "security.md").read_text().split("\n| Promise | Test |\n|---|---|\n")[1:]
    rows = [row for table in tables for row in table.split("\n\n")[0].splitlines()]
    assert rows and [row for row in rows if "`tests/" not in row] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_make_target_named_is_there(document: Path) -> None:
    rules = re.findall(r"^([a-z -]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = {
        name
        for code in _CODE.findall(document.read_text())
        for name in re.findall(r"(?<!install )\bmake ([\w-]+)", code)
    }
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_setting_named_is_one(document: Path) -> None:
    known = {f"STILLHOUSE_{name.upper()}" for name in Settings.model_fields} | OF_COMMANDS.keys()
    known |= {"STILLHOUSE_DEMAND_S3", "STILLHOUSE_CLIENTS", "STILLHOUSE_"}  # of the tests; the prefix
    if document.name == "first-day.md":
        known |= {"STILLHOUSE_TRAHS_DAYS"}  # a misspelling, which the page shows to be refused
    assert set(re.findall(r"\bSTILLHOUSE_\w*", document.read_text())) <= known


def test_the_page_of_settings_is_what_the_code_has() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run: make settings-docs"
    assert settings_page.NAMES.read_text() == settings_page.names(), "run: make settings-docs"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_is_for(name: str) -> None:
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_every_module_says_what_it_is_for(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text()))


def test_the_map_shows_the_layers_that_are_enforced() -> None:
    picture = _section("The map").split("```")[1].strip().splitlines()
    shown = [re.split(r" {2,}", line)[0] for line in picture]
    layers = PROJECT["tool"]["importlinter"]["contracts"][0]["layers"]
    assert shown == [layer for layer in layers if layer != "__main__"]


def test_the_map_has_a_line_for_every_folder() -> None:
    folders = {str(module.parent.relative_to(SOURCE)) for module in MODULES} - {"."}
    lines = re.findall(r"^\| `([\w/]+)` \| \S", _section("The map"), re.MULTILINE)
    assert sorted(lines) == sorted(folders)


def test_the_drawing_of_the_floors_shows_every_room() -> None:
    drawing = _section("The map").split("```")[1]
    folders = {path.name for path in SOURCE.glob("*/*/") if (path / "__init__.py").exists()}
    floors = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    single = {path.stem for path in SOURCE.glob("*.py") if not path.stem.startswith("__")}
    assert folders | floors | single <= set(re.findall(r"\w+", drawing))


def test_the_reading_order_tells_of_every_floor() -> None:
    page = (ROOT / "docs" / "README.md").read_text()
    floors = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert floors <= {folder.split("/")[0] for folder in re.findall(r"`([\w/]+)`", page)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_lines_of_documents_are_short(document: Path) -> None:
    """At most 120 characters; tables and code cannot be wrapped, nor can a line of one word or link."""
    lines = _FENCE.sub("", document.read_text()).splitlines()
    wide = [line for line in lines if len(line) > 120 and not line.lstrip().startswith("|")]
    assert [line for line in wide if len(_LINK.sub("link", line)) > 120] == []


def test_the_map_names_every_law_of_imports() -> None:
    _, *contracts = PROJECT["tool"]["importlinter"]["contracts"]
    laws = {contract["name"] for contract in contracts if contract["type"] == "forbidden"}
    rows = re.findall(r"^\| ([A-Z].*?) \|", _section("The map"), re.MULTILINE)
    assert laws <= set(rows), "each law has a row in docs/ARCHITECTURE.md that says why"


def test_the_architecture_says_what_each_dependency_is_for() -> None:
    wanted = {re.split(r"[\[<>=]", line)[0] for line in PROJECT["project"]["dependencies"]}
    rows = re.findall(r"^\| ([a-z].*?) \|", _section("What each dependency spares us"), re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == wanted


def test_the_architecture_shows_the_whole_tree_of_errors() -> None:
    tree = _section("Errors").split("```")[1]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    missing = [
        kind.__name__ for kind in kinds if issubclass(kind, StillhouseError) and kind.__name__ not in tree
    ]
    assert missing == []


def test_the_api_page_is_what_the_routes_are() -> None:
    assert PAGE.read_text() == page(), "run: make api-docs"


def test_every_route_is_accounted_for_or_under_our_own_prefix() -> None:
    assert [path for _, _, path in unaccounted() if not path.startswith("/stillhouse/")] == []


def test_a_route_has_the_name_its_operation_is_published_under() -> None:
    names = {place(one.method, one.path): one.id for one in PUBLISHED}
    others = {name for name, method, path in routed() if names.get(place(method, path), name) != name}
    assert others == set()


def test_no_operation_on_snapshots_is_missing_or_partial() -> None:
    standings = {one.id: standing(one) for one in SNAPSHOTS}
    assert len(standings) == 16 and set(standings.values()) <= {"done", "deviating"}


def test_no_operation_is_accounted_for_twice() -> None:
    assert len(OPERATIONS) == len(PUBLISHED) + len(EXTENSIONS)


def test_no_field_is_described_twice() -> None:
    assert sum(map(len, terms.PARTS)) == len(terms.GLOSSARY)


@pytest.mark.parametrize("path", [path for path in FILES if path != Path(__file__)], ids=_name)
def test_nothing_names_the_machine_it_was_made_on(path: Path) -> None:
    text = path.read_bytes().decode(errors="replace")
    assert [line for line in text.splitlines() if _FOREIGN.search(line)] == []
