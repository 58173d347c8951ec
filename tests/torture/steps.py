"""The steps that a random load is made of, by the kinds of change that the engine must survive."""

import random
import threading
from contextlib import closing

import psycopg

from stillhouse.postgres.sessions import session
from support.snapshots.cuts import ask, tell
from torture.load import DATABASES, INDEXES, PREPARED, TABLES, TABLESPACES, Load, Step, make_table, values


def insert(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    load.tell(database, f"INSERT INTO public.{table} {values(draw, draw.choice([1, 30, 1500]))}")


def update(load: Load, draw: random.Random) -> None:
    """By an indexed column, or in place where the page has room (hot)."""
    database, table = load.somewhere(draw)
    change = draw.choice(
        ["body = 'hot'", "k = k + 1", "tag = tag || 'x'", "body = repeat(md5(id::text), 150)"]
    )
    share = draw.choice([3, 50, 700])
    load.tell(database, f"UPDATE public.{table} SET {change} WHERE id % {share} = {draw.randrange(share)}")


def delete(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    share = draw.choice([2, 10, 200])
    load.tell(database, f"DELETE FROM public.{table} WHERE id % {share} = {draw.randrange(share)}")


def truncate_by_vacuum_and_load(load: Load, draw: random.Random) -> None:
    """The tail goes by vacuum's truncation; bulk extension leaves pages of zeros where it was."""
    database, table = load.somewhere(draw)
    from_block = draw.choice([0, 1, 5, 20, 60])
    load.tell(
        database,
        f"DELETE FROM public.{table} WHERE ctid >= '({from_block},0)'::tid",
        f"VACUUM public.{table}",
    )
    copy_in(load, draw, database, table)


def bulk_load(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    copy_in(load, draw, database, table)


def copy_in(load: Load, draw: random.Random, database: str, table: str) -> None:
    """By several sessions at once, now and then: they extend the relation for one another."""
    rows, seeds = draw.choice([20, 300, 2000]), [draw.random() for _ in range(draw.choice([1, 1, 3]))]

    def one(seed: float) -> None:
        own = random.Random(seed)
        with load.session(database) as connection, connection.cursor() as cursor:
            try:
                with cursor.copy(f"COPY public.{table} (id, k, tag, body) FROM STDIN".encode()) as copy:
                    for _ in range(rows):
                        number = own.randrange(1 << 20)
                        copy.write_row(
                            (number, number % 1000, f"tag{number % 50}", "c" * own.choice([9, 400]))
                        )
            except psycopg.Error:
                return  # refused, as by a lock

    threads = [threading.Thread(target=one, args=(seed,)) for seed in seeds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def vacuum(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    how = draw.choice(["", "(FREEZE)", "(ANALYZE)", "(INDEX_CLEANUP on)", "(DISABLE_PAGE_SKIPPING)"])
    load.tell(database, f"VACUUM {how} public.{table}")


def vacuum_full(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    what = draw.choice([f"public.{table}", f"public.{table}", "pg_class", "pg_attribute", "pg_statistic"])
    load.tell(database, f"VACUUM FULL {what}")


def cluster(load: Load, draw: random.Random) -> None:
    database = draw.choice(load.databases())
    for index in load.indexes(database):
        load.tell(database, f"CLUSTER public.{index.rpartition('_')[0]} USING {index}")
        return


def truncate(load: Load, draw: random.Random) -> None:
    """Alone, or in the transaction that fills it again."""
    database, table = load.somewhere(draw)
    again = draw.random() < 0.7
    load.tell(
        database,
        "BEGIN",
        f"TRUNCATE public.{table}",
        *([f"INSERT INTO public.{table} {values(draw, 200)}"] if again else []),
        "COMMIT",
    )


def create_table(load: Load, draw: random.Random) -> None:
    database = draw.choice(load.databases())
    if len(load.tables(database)) < TABLES:
        make_table(load, draw, database)


def drop_table(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    load.tell(database, f"DROP TABLE public.{table} CASCADE")


def build_index(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    how = draw.choice(["", "CONCURRENTLY"])
    load.tell(
        database,
        f"CREATE INDEX {how} {load.name(table + '_')} ON public.{table} USING {draw.choice(INDEXES)}",
    )


def drop_index(load: Load, draw: random.Random) -> None:
    database = draw.choice(load.databases())
    if indexes := load.indexes(database):
        load.tell(database, f"DROP INDEX public.{draw.choice(indexes)}")


def reindex(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    how = draw.choice(["", "CONCURRENTLY"])
    what = draw.choice([f"public.{table}", f"public.{table}", "pg_catalog.pg_class"])
    load.tell(database, f"REINDEX TABLE {'' if what.startswith('pg_') else how} {what}")


def rewrite(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    change = draw.choice(
        [
            "ADD COLUMN IF NOT EXISTS extra float DEFAULT random()",
            "DROP COLUMN IF EXISTS extra",
            "SET LOGGED",
            "SET LOGGED",
            "SET UNLOGGED",
        ]
    )
    load.tell(database, f"ALTER TABLE public.{table} {change}")


def move_table(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    place = draw.choice(["pg_default", *load.tablespaces()])
    thing = draw.choice(
        [f"TABLE public.{table}", *(f"INDEX public.{name}" for name in load.indexes(database))]
    )
    load.tell(database, f"ALTER {thing} SET TABLESPACE {place}")


def temporary_table(load: Load, draw: random.Random) -> None:
    """Its session goes on, and so do its files."""
    connection = session.connect(load.node, draw.choice(load.databases()), application_name="torture")
    load.hold(connection)
    tell(connection, f"CREATE TEMPORARY TABLE passing AS {values(draw, 500)}")


def sequence(load: Load, draw: random.Random) -> None:
    database = draw.choice(load.databases())
    load.tell(
        database,
        "CREATE SEQUENCE IF NOT EXISTS public.counted",
        draw.choice(
            [
                f"SELECT max(nextval('public.counted')) FROM generate_series(1, {draw.choice([1, 5, 80])})",
                f"SELECT setval('public.counted', {draw.randrange(1, 1 << 20)})",
            ]
        ),
    )


def materialised_view(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    if ask_exists(load, database, "public.seen") and draw.random() < 0.7:
        load.tell(database, "REFRESH MATERIALIZED VIEW public.seen")
        return
    load.tell(
        database,
        "DROP MATERIALIZED VIEW IF EXISTS public.seen",
        f"CREATE MATERIALIZED VIEW public.seen AS SELECT k, count(*) FROM public.{table} GROUP BY 1",
    )


def ask_exists(load: Load, database: str, relation: str) -> bool:
    return bool(load.ask(database, f"SELECT to_regclass('{relation}') IS NOT NULL")[0][0])


def large_object(load: Load, draw: random.Random) -> None:
    database = draw.choice(load.databases())
    with load.session(database) as connection:
        oids = [oid for (oid,) in ask(connection, "SELECT oid FROM pg_largeobject_metadata ORDER BY 1")]
        if len(oids) > 5:
            tell(connection, f"SELECT lo_unlink({draw.choice(oids)})")
        if oids and draw.random() < 0.5:
            at = draw.randrange(40_000)
            tell(connection, f"SELECT lo_put({draw.choice(oids)}, {at}, repeat('y', 3000)::bytea)")
        else:
            tell(connection, f"SELECT lo_from_bytea(0, repeat('z', {draw.randrange(60_000)})::bytea)")


def prepare(load: Load, draw: random.Random) -> None:
    """Left open; the gid is a row of its own transaction, so that it can be looked for once it is committed."""
    if len(load.ask("postgres", "SELECT FROM pg_prepared_xacts")) >= PREPARED:
        return
    gid = load.name("p")
    tables = load.tables("postgres")
    more = [f"INSERT INTO public.{draw.choice(tables)} {values(draw, 100)}"] if tables else []
    load.tell(
        "postgres",
        "BEGIN",
        f"INSERT INTO public.promised VALUES ('{gid}')",
        *more,
        f"CREATE TABLE public.{gid} (i int)",
        f"PREPARE TRANSACTION '{gid}'",
    )


def settle(load: Load, draw: random.Random) -> None:
    for (gid,) in load.ask("postgres", "SELECT gid FROM pg_prepared_xacts ORDER BY 1"):
        load.tell("postgres", f"{draw.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{gid}'")


def subtransactions(load: Load, draw: random.Random) -> None:
    database, table = load.somewhere(draw)
    statements = ["BEGIN"]
    for number in range(draw.choice([3, 80])):
        statements += [f"SAVEPOINT s{number}", f"INSERT INTO public.{table} {values(draw, 2)}"]
        if draw.random() < 0.3:
            statements.append(f"ROLLBACK TO s{number}")
    load.tell(database, *statements, draw.choice(["COMMIT", "COMMIT", "ROLLBACK"]))


def open_transaction(load: Load, draw: random.Random) -> None:
    """Left open over whatever comes, the cut perhaps."""
    database, table = load.somewhere(draw)
    connection = session.connect(
        load.node, database, autocommit=True, application_name="torture", settings={"lock_timeout": "200ms"}
    )
    load.hold(connection)
    for statement in (
        "BEGIN",
        f"INSERT INTO public.{table} {values(draw, 300)}",
        f"UPDATE public.{table} SET body = 'open' WHERE id % 500 = 1",
        f"CREATE TABLE public.{load.name('t')} (LIKE public.{table} INCLUDING ALL)",
    ):
        tell(connection, statement)


def checkpoint(load: Load, draw: random.Random) -> None:
    load.tell("postgres", *["CHECKPOINT"] * draw.choice([1, 1, 4]), "SELECT pg_switch_wal()")


def freeze_all(load: Load, draw: random.Random) -> None:
    load.tell(draw.choice(load.databases()), "VACUUM (FREEZE)")


def lock_rows(load: Load, draw: random.Random) -> None:
    """By two transactions at once: multixacts."""
    database, table = load.somewhere(draw)
    lock = f"SELECT count(*) FROM (SELECT FROM public.{table} WHERE id % 50 = 1 FOR KEY SHARE) rows"
    with load.session(database) as first, load.session(database) as second:
        for connection in (first, second):
            tell(connection, "BEGIN")
            tell(connection, lock)
        tell(first, "COMMIT")
        tell(second, "COMMIT")


def create_tablespace(load: Load, draw: random.Random) -> None:
    if len(load.tablespaces()) < TABLESPACES:
        name = load.name("s")
        if draw.random() < 0.3:
            load.tell(
                "postgres", "SET allow_in_place_tablespaces = on", f"CREATE TABLESPACE {name} LOCATION ''"
            )
        else:
            load.tell("postgres", f"CREATE TABLESPACE {name} LOCATION '{load.place(name)}'")


def drop_tablespace(load: Load, draw: random.Random) -> None:
    for name in load.tablespaces()[:1]:
        for database in load.databases():
            load.tell(database, f"ALTER TABLE ALL IN TABLESPACE {name} SET TABLESPACE pg_default")
            load.tell(database, f"ALTER INDEX ALL IN TABLESPACE {name} SET TABLESPACE pg_default")
        load.tell("postgres", f"DROP TABLESPACE {name}")


def create_database(load: Load, draw: random.Random) -> None:
    """By either strategy, of an empty template or of one with data, whose pages keep their LSNs when copied."""
    if len(load.own_databases()) < DATABASES:
        load.tell("postgres", f"CREATE DATABASE {load.name('d')} {made_how(load, draw)}")


def made_how(load: Load, draw: random.Random) -> str:
    template = draw.choice(["template0", "gaussdb", *load.own_databases()])
    place = draw.choice(["pg_default", *load.tablespaces()])
    return f"TEMPLATE {template} STRATEGY {draw.choice(['file_copy', 'wal_log'])} TABLESPACE {place} IS_TEMPLATE false"


def replace_database(load: Load, draw: random.Random) -> None:
    """Drop one and make another in its place, with its very oid: other pages in files of the same names."""
    # By the time it is looked up, somebody may have dropped it.
    for name in load.own_databases()[:1]:
        for (oid,) in load.ask("postgres", f"SELECT oid FROM pg_database WHERE datname = '{name}'"):
            load.settle_all(name)
            how = draw.choice(["file_copy", "wal_log"])
            load.tell(
                "postgres",
                f"DROP DATABASE {name} (FORCE)",
                f"CREATE DATABASE {name} OID {oid} TEMPLATE gaussdb STRATEGY {how}",
            )


def drop_database(load: Load, draw: random.Random) -> None:
    for name in load.own_databases()[:1]:
        load.settle_all(name)
        load.tell("postgres", f"DROP DATABASE {name} (FORCE)")


def move_database(load: Load, draw: random.Random) -> None:
    """There, or there and back: the same files' names with other files behind them."""
    for name in load.own_databases()[:1]:
        places = ["pg_default", *load.tablespaces()]
        for place in draw.sample(places, min(len(places), draw.choice([1, 2]))):
            load.tell("postgres", f"ALTER DATABASE {name} SET TABLESPACE {place}")


def break_off(load: Load, draw: random.Random) -> None:
    """A session that is ended in the midst of its work."""
    with closing(session.connect(load.node, "postgres", application_name="torture")) as connection:
        pid = connection.info.backend_pid
        for table in load.tables("postgres")[:1]:
            tell(connection, "BEGIN")
            tell(connection, f"INSERT INTO public.{table} {values(draw, 500)}")
        load.tell("postgres", f"SELECT pg_terminate_backend({pid}, 5000)")


# The weight of each: rows change more often than files move.
WORK: list[tuple[Step, int]] = [
    (insert, 12), (update, 14), (delete, 8), (truncate_by_vacuum_and_load, 14), (bulk_load, 8), (vacuum, 8),
    (vacuum_full, 2), (cluster, 2), (truncate, 2), (create_table, 5), (drop_table, 2), (build_index, 4),
    (drop_index, 2), (reindex, 3), (rewrite, 5), (move_table, 4), (temporary_table, 2), (sequence, 4),
    (materialised_view, 3), (large_object, 3), (prepare, 4), (settle, 2), (subtransactions, 3),
    (open_transaction, 2), (checkpoint, 5), (freeze_all, 2), (lock_rows, 2), (break_off, 1),
]  # fmt: skip
# What makes a capture beside it begin again.
MOVES: list[tuple[Step, int]] = [
    (create_tablespace, 3), (drop_tablespace, 1), (create_database, 4), (replace_database, 3),
    (drop_database, 1), (move_database, 3),
]  # fmt: skip
