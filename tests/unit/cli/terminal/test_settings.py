"""Settings come from flags, the environment and a file, in this order; no misspelt name passes."""

from pathlib import Path

import pytest

from stillhouse.cli.terminal import settings
from stillhouse.cli.terminal.settings import check_environment
from stillhouse.config import Settings
from stillhouse.errors import InvalidInput


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "stillhouse.toml"
    file.write_text(f'data = "{tmp_path}"\nlisten = "127.0.0.1:1"\ntrash_days = 1\nregion = "file"\n')
    file.chmod(0o644)
    return file


def read(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], file: Path | None, **flags: object
) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings.read(flags, file)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"STILLHOUSE_LISTEN": "127.0.0.1:2", "stillhouse_trash_days": "2"}
    found = read(monkeypatch, variables, file, listen="127.0.0.1:3", tls_cert=None)
    assert (found.listen, found.trash_days, found.region) == ("127.0.0.1:3", 2, "file")
    assert found.data == file.parent


def test_the_environment_may_name_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, {"STILLHOUSE_CONFIG": str(file)}, None).region == "file"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STILLHOUSE_LISTN", "STILLHOUSE_LISTEN"),
        ("STILLHOUSE_ENDPONT", "STILLHOUSE_ENDPOINT"),
        ("Stillhouse_Trash_Day", "STILLHOUSE_TRASH_DAYS"),
        ("STILLHOUSE_XYZZY", "docs/settings.md"),
    ],
)
def test_a_misspelt_variable_is_refused_and_the_nearest_is_named(name: str, meant: str) -> None:
    with pytest.raises(InvalidInput, match=name) as refused:
        check_environment({name: "1", "STILLHOUSE_DATA": "/"})
    assert meant in refused.value.hint


@pytest.mark.parametrize(
    "name",
    [
        "STILLHOUSE_DATA",
        "stillhouse_listen",
        "STILLHOUSE_USER_PWD",
        "STILLHOUSE_DEMAND_S3",
        "STILLHOUSE_SERVICE_PORT_HTTP",
        "STILLHOUSE_PORT_8080_TCP_ADDR",
        "STILLHOUSE_PORT",
        "PATH",
    ],
)
def test_a_known_or_foreign_variable_passes(name: str) -> None:
    check_environment({name: "1"})


def test_a_misspelt_name_in_the_file_is_refused_and_the_nearest_is_named(file: Path) -> None:
    file.write_text('tls-cert = "a"\n')
    with pytest.raises(InvalidInput, match="tls-cert") as refused:
        settings.read({"data": file.parent}, file)
    assert "tls_cert" in refused.value.hint


@pytest.mark.parametrize("text", ["listen 1", "\xff"])
def test_a_file_that_is_no_toml_is_named(file: Path, text: str) -> None:
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match="no TOML"):
        settings.read({}, file)


def test_a_file_that_is_missing_or_open_to_everybody_is_refused(file: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        settings.read({}, file / "not")
    file.chmod(0o666)
    with pytest.raises(InvalidInput, match="everybody"):
        settings.read({}, file)


def test_a_wrong_value_is_told_with_the_place_where_it_stands(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidInput, match=r"^STILLHOUSE_WHOLE_EVERY cannot be 'often'"):
        read(monkeypatch, {"STILLHOUSE_WHOLE_EVERY": "often"}, file)
    monkeypatch.delenv("STILLHOUSE_WHOLE_EVERY")
    with pytest.raises(InvalidInput, match=r"^--insecure cannot be"):
        settings.read({"insecure": "perhaps"}, file)
    file.write_text("trash_days = -1\n")
    with pytest.raises(InvalidInput, match=r"stillhouse.toml: trash_days cannot be '-1'"):
        settings.read({"data": file.parent}, file)


def test_without_a_data_directory_the_ways_to_give_one_are_told() -> None:
    with pytest.raises(InvalidInput, match="no data directory") as refused:
        settings.read({}, None, {})
    assert "--data" in refused.value.hint and "STILLHOUSE_DATA" in refused.value.hint
