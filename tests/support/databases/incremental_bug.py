"""The statements after which PostgreSQL's own incremental backup brings deleted rows back.

DELETE empties the end of a table, VACUUM cuts it off, COPY extends the table again, by more pages than it fills. Those
pages of zeros are in no WAL record and in no WAL summary; the older backup has rows at their place.
"""

from contextlib import closing

from stillhouse.domain.cluster import Node
from stillhouse.postgres.sessions import session

COUNT = "SELECT count(*), min(id), max(id) FROM public.reborn"
KEPT, DELETED, LOADED, FIRST_LOADED = 2000, 1000, 530, 100_000


def fill(node: Node) -> None:
    _tell(
        node,
        "DROP TABLE IF EXISTS public.reborn",
        "CREATE TABLE public.reborn (id int, filler text)",
        f"INSERT INTO public.reborn SELECT i, repeat('x', 500) FROM generate_series(1, {KEPT + DELETED}) i",
        "VACUUM (FREEZE) public.reborn",
    )


def delete_truncate_and_load(node: Node) -> None:
    _tell(node, f"DELETE FROM public.reborn WHERE id > {KEPT}", "VACUUM (TRUNCATE) public.reborn")
    with (
        closing(session.connect(node, "postgres")) as connection,
        connection.cursor().copy("COPY public.reborn FROM STDIN") as copy,
    ):
        for number in range(LOADED):
            copy.write_row((FIRST_LOADED + number, "y" * 500))
    _tell(node, "CHECKPOINT")


def _tell(node: Node, *statements: str) -> None:
    with closing(session.connect(node, "postgres")) as connection:
        for statement in statements:
            connection.execute(statement.encode())
