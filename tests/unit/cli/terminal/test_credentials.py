"""Where the address and the key come from, and in which order."""

import json
from pathlib import Path

import pytest

from stillhouse.cli.terminal.credentials import Access, entry
from stillhouse.errors import InvalidInput

PROJECT, OTHER = "0" * 32, "1" * 32


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def private(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def profiles(home: Path, text: str) -> None:
    private(home / ".config" / "stillhouse" / "profiles.toml", text)


VARIABLES = {"CLOUD_SDK_AK": "of-env", "CLOUD_SDK_SK": "s", "STILLHOUSE_PROJECT": PROJECT}


def test_flags_win_over_a_named_profile_that_over_variables_and_those_over_the_default(home: Path) -> None:
    profiles(
        home,
        f'[default]\naccess_key = "of-default"\nsecret_key = "s"\nproject = "{PROJECT}"\nendpoint = "https://d"\n'
        f'[prod]\naccess_key = "of-prod"\nsecret_key = "s"\nproject = "{PROJECT}"\nendpoint = "https://p/"\n',
    )
    file = private(
        home / "key.json", json.dumps({"access_key": "of-file", "secret_key": "s", "project_id": OTHER})
    )
    assert entry(Access(), {}).key.access_key == "of-default"
    assert entry(Access(), VARIABLES).key.access_key == "of-env"
    assert entry(Access(), VARIABLES).endpoint == "https://d"
    found = entry(Access(profile="prod"), VARIABLES)
    assert (found.key.access_key, found.endpoint) == ("of-prod", "https://p")
    assert entry(Access(), VARIABLES | {"STILLHOUSE_PROFILE": "prod"}).key.access_key == "of-prod"
    found = entry(Access(profile="prod", key_file=file, endpoint="http://f"), VARIABLES)
    assert (found.key.access_key, found.key.project, found.endpoint) == ("of-file", OTHER, "http://f")
    assert entry(Access(access_key="of-flag"), VARIABLES).key.access_key == "of-flag"


def test_the_sdk_s_own_variables_and_file_will_do(home: Path) -> None:
    sdk = {"HUAWEICLOUD_SDK_AK": "a", "HUAWEICLOUD_SDK_SK": "s", "HUAWEICLOUD_SDK_PROJECT_ID": PROJECT}
    assert entry(Access(), sdk).key.access_key == "a"
    assert entry(Access(), sdk).endpoint == "http://127.0.0.1:8080"
    private(
        home / ".huaweicloud" / "credentials", f"[basic]\nak = of-sdk\nsk = 100%s\nproject_id = {PROJECT}\n"
    )
    found = entry(Access(), {})
    assert (found.key.access_key, found.key.secret_key, found.key.project) == ("of-sdk", "100%s", PROJECT)
    other = private(home / "other", f"[basic]\nak = of-other\nsk = s\nproject_id = {PROJECT}\n")
    assert entry(Access(), {"HUAWEICLOUD_SDK_CREDENTIALS_FILE": str(other)}).key.access_key == "of-other"


def test_the_sdk_reads_the_same_file(home: Path) -> None:
    from huaweicloudsdkcore.auth.provider import ProfileCredentialProvider

    private(home / ".huaweicloud" / "credentials", f"[basic]\nak = a\nsk = s\nproject_id = {PROJECT}\n")
    theirs = ProfileCredentialProvider.get_basic().get_credentials()
    ours = entry(Access(), {}).key
    assert (ours.access_key, ours.secret_key, ours.project) == (theirs.ak, theirs.sk, theirs.project_id)


def test_a_profile_may_name_a_key_file(home: Path) -> None:
    private(home / "key.json", json.dumps({"access_key": "a", "secret_key": "s", "project_id": PROJECT}))
    profiles(home, '[prod]\nkey_file = "~/key.json"\n')
    assert entry(Access(profile="prod"), {}).key.project == PROJECT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[prod]\nport = 1\n", "prod is no profile"),
        ('[prod]\nsecret = "s"\n', "secret is nothing that a profile has"),
        ("prod = 1\n", "prod is no profile"),
        ("[prod\n", "is no TOML file"),
    ],
)
def test_a_wrong_file_of_profiles_is_told(home: Path, text: str, said: str) -> None:
    profiles(home, text)
    with pytest.raises(InvalidInput, match=said):
        entry(Access(), VARIABLES)


def test_a_file_with_a_secret_that_others_may_read_is_refused(home: Path) -> None:
    profiles(home, '[prod]\nendpoint = "https://p"\n')
    (home / ".config" / "stillhouse" / "profiles.toml").chmod(0o644)
    with pytest.raises(InvalidInput, match="others than its owner may read"):
        entry(Access(), VARIABLES)


def test_without_a_key_or_a_project_the_places_are_told() -> None:
    with pytest.raises(InvalidInput, match="no access key") as refused:
        entry(Access(), {})
    assert "CLOUD_SDK_AK" in refused.value.hint and "--profile" in refused.value.hint
    with pytest.raises(InvalidInput, match="project id"):
        entry(Access(), {"CLOUD_SDK_AK": "a", "CLOUD_SDK_SK": "s"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STILLHOUSE_ENDPOINT", "127.0.0.1:8080", "is no address of a service"),
        ("STILLHOUSE_ENDPOINT", "http://", "is no address of a service"),
        ("STILLHOUSE_ENDPOINT", "http://bücher.example", "is no address of a service"),
        ("STILLHOUSE_ENDPOINT", "http://127.0.0.1/a b", "is no address of a service"),
        ("CLOUD_SDK_AK", "ключ", "is no access key"),
        ("CLOUD_SDK_AK", "a\nb", "is no access key"),
    ],
)
def test_what_cannot_stand_in_a_request_is_refused_before_it_is_sent(
    name: str, value: str, told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        entry(Access(), {**VARIABLES, name: value})
