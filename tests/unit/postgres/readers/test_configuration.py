"""Configuration files written anew from the server's views of them."""

from stillhouse.postgres.readers.configuration import written


def body(name: str, rows: list[tuple[object, ...]]) -> list[str]:
    return written(name, rows).decode().splitlines()[1:]


def test_the_last_value_of_a_setting_counts_and_values_are_quoted() -> None:
    rows: list[tuple[object, ...]] = [
        ("work_mem", "4MB"),
        ("log_line_prefix", "it's %m\\"),
        ("work_mem", "8MB"),
    ]
    assert body("postgresql.conf", rows) == ["work_mem = '8MB'", "log_line_prefix = 'it''s %m\\\\'"]


def test_rules_have_their_names_quoted_but_for_keywords() -> None:
    rows: list[tuple[object, ...]] = [
        ("local", ["all"], ["postgres"], None, None, "peer", None),
        (
            "hostssl",
            ["shop", "replication"],
            ["+staff"],
            "10.0.0.0",
            "255.0.0.0",
            "ldap",
            ["ldapserver=a, b"],
        ),
    ]
    assert body("pg_hba.conf", rows) == [
        'local all "postgres" peer',
        'hostssl "shop",replication +staff 10.0.0.0 255.0.0.0 ldap ldapserver="a, b"',
    ]


def test_mappings_are_quoted() -> None:
    assert body("pg_ident.conf", [("m", "/^(.*)@x$", 'a"b')]) == ['"m" /^(.*)@x$ "a""b"']
