"""A store that nothing can be signed for is refused at once, and the variables to set are named."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from stillhouse.errors import InvalidInput, StoreRefused
from stillhouse.storage import s3_credentials
from stillhouse.storage.open import open_store

PAIR = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}
NOBODY = {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("endpoint", "environment", "said"),
    [
        ("http://127.0.0.1:9000", {}, "no access key is set for http://127.0.0.1:9000"),
        ("http://127.0.0.1:9000", {"AWS_ACCESS_KEY_ID": "a"}, "AWS_SECRET_ACCESS_KEY is not set"),
        ("", {"AWS_SECRET_ACCESS_KEY": "s", "AWS_ACCESS_KEY_ID": ""}, "AWS_ACCESS_KEY_ID is not set"),
        ("", NOBODY, "this machine has no role"),
    ],
)
def test_without_credentials_a_store_is_refused(
    endpoint: str, environment: dict[str, str], said: str
) -> None:
    with pytest.raises(StoreRefused, match=said) as refused:
        s3_credentials.source("s3://bucket", endpoint, environment)
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refused.value.hint


@pytest.mark.parametrize(
    ("content", "profile", "said"),
    [
        (None, "default", "No such file"),
        ("[default]\naws_access_key_id = a\n", "default", "no aws_secret_access_key"),
        ("[default]\n", "backup", "no such section"),
        ("nonsense", "default", "not such a file"),
    ],
)
def test_a_file_without_keys_is_named(tmp_path: Path, content: str | None, profile: str, said: str) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    environment = {"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": profile}
    keys = s3_credentials.source("s3://bucket", "http://127.0.0.1:9000", environment)
    assert keys is not None
    with pytest.raises(StoreRefused, match=said) as refused:
        keys()
    assert str(file) in refused.value.message


def test_the_file_of_amazon_s_tools_is_read_at_its_place_and_after_the_environment(tmp_path: Path) -> None:
    file = tmp_path / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = s%s\n")
    home = {"HOME": str(tmp_path)}
    keys = s3_credentials.source("s3://bucket", "http://127.0.0.1:9000", home)
    assert keys is not None and keys()["secret_access_key"] == "s%s"
    assert s3_credentials.source("s3://bucket", "", home | PAIR) is None
    assert s3_credentials.source("s3://bucket", "", home | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/t"}) is None


def test_a_container_s_keys_need_both_variables() -> None:
    """obstore passes one alone over in silence, and asks the machine in place of the container."""
    with pytest.raises(StoreRefused, match="AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE is not"):
        s3_credentials.source("s3://bucket", "", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/"})


@pytest.mark.parametrize(
    "environment", [PAIR, NOBODY | {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token"}, {"AWS_SKIP_SIGNATURE": "true"}]
)
def test_every_source_of_credentials_will_do(environment: dict[str, str]) -> None:
    s3_credentials.source("s3://bucket", "", environment)


def test_a_machine_with_a_role_needs_no_keys() -> None:
    with closing(socket.socket()) as metadata:
        metadata.bind(("127.0.0.1", 0))
        metadata.listen()
        url = f"http://127.0.0.1:{metadata.getsockname()[1]}"
        s3_credentials.source("s3://bucket", "", {"AWS_METADATA_ENDPOINT": url})


def test_an_endpoint_without_its_scheme_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library of object stores would panic at the first request."""
    for name, value in {**PAIR, "AWS_ENDPOINT_URL": "127.0.0.1:9000"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidInput, match=r"'127\.0\.0\.1:9000' is no address") as refused:
        open_store("s3://bucket")
    assert "AWS_ENDPOINT_URL" in refused.value.hint
