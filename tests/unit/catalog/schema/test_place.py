"""The setting of the catalog's place: each wrong one is refused in one line, and no line holds a password."""

from pathlib import Path

import pytest

from stillhouse.catalog.schema.place import place_of
from stillhouse.errors import InvalidInput

DATA = Path("/var/lib/stillhouse")


@pytest.mark.parametrize("said", ["", "sqlite"])
def test_without_a_setting_it_is_the_file_in_the_data_directory(said: str) -> None:
    place = place_of(said, DATA)
    assert (place.url, place.shown) == (
        "sqlite:////var/lib/stillhouse/catalog.sqlite",
        f"{DATA}/catalog.sqlite",
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("postgresql", "cannot be read"),
        ("postgresql://catalog@db:port/x", "cannot be read"),
        ("mysql://catalog@db/x", "cannot be in 'mysql'"),
        ("postgresql://catalog@db", "names no database"),
        ("postgresql://catalog:s3cret@db/x", "holds a password"),
        ("postgresql://catalog@db/x?password=s3cret", "holds a password"),
        ("postgresql://catalog@db/x?sslpassword=s3cret", "holds a password"),
        ("s3cret://catalog:s3cret@db/x?a=%%", "the catalog cannot be in"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_by_name(said: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        place_of(said, DATA)
    assert ":s3cret" not in str(refused.value)
    assert "=s3cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_way_to_another_host_is_tls_to_a_server_that_is_known() -> None:
    assert "sslmode=verify-full" in place_of("postgresql://catalog@db.example.org/x", DATA).url
    assert "sslmode=verify-full" in place_of("postgresql://catalog@/x?host=db.example.org", DATA).url


@pytest.mark.parametrize(
    "here",
    ["catalog@localhost/x", "catalog@127.0.0.1:5433/x", "catalog@[::1]/x", "catalog@/x?host=/run/pg", "/x"],
)
def test_a_server_on_this_host_needs_none(here: str) -> None:
    assert "sslmode" not in place_of(f"postgresql://{here}", DATA).url


def test_the_url_s_own_parameters_win() -> None:
    url = place_of("postgresql://catalog@db/x?sslmode=require&connect_timeout=3", DATA).url
    assert "sslmode=require" in url
    assert "connect_timeout=3" in url


def test_it_is_shown_without_its_parameters() -> None:
    said = "postgresql://catalog@db:5433/x?passfile=/etc/stillhouse/pgpass&sslrootcert=/etc/ca.pem"
    assert place_of(said, DATA).shown == "postgresql://catalog@db:5433/x"
    assert (
        place_of("postgresql://catalog@/x?host=/run/pg", DATA).shown == "postgresql://catalog@/x?host=/run/pg"
    )
