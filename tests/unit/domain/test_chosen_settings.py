"""Settings that a person may choose for a restored cluster: some by the API, all on the host."""

import pytest

from stillhouse.domain import chosen_settings
from stillhouse.errors import InvalidInput


def test_settings_are_chosen_by_name_and_value() -> None:
    assert chosen_settings.parse(["Shared_Buffers=1GB", "a.b = x=y", "huge_pages="]) == {
        "shared_buffers": "1GB",
        "a.b": "x=y",
        "huge_pages": "",
    }


@pytest.mark.parametrize(
    "assignment",
    [
        "shared_buffers",
        "=1",
        "a b=1",
        "a'=1",
        "x=1\ny=2",
        f"x={'y' * 1001}",
        "listen_addresses=*",
        "DATA_DIRECTORY=/",
        "recovery_target_lsn=0/1",
        "archive_command=cp",
        "primary_conninfo=host=home",
    ],
)
def test_what_is_no_setting_or_is_ours_is_refused(assignment: str) -> None:
    with pytest.raises(InvalidInput):
        chosen_settings.parse([assignment])


@pytest.mark.parametrize(
    "name",
    [
        "shared_preload_libraries",
        "dynamic_library_path",
        "ssl_key_file",
        "log_directory",
        "stats_temp_directory",
        "a.b",
    ],
)
def test_a_caller_of_the_api_chooses_no_program_library_or_file(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be chosen"):
        chosen_settings.check({name: "x"}, chosen_settings.CALLERS)


def test_a_caller_of_the_api_chooses_the_hosts_strength() -> None:
    chosen = {"shared_buffers": "1GB", "TimeZone": "UTC"}
    assert chosen_settings.check(chosen, chosen_settings.CALLERS) == {
        "shared_buffers": "1GB",
        "timezone": "UTC",
    }
