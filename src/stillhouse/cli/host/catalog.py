"""`stillhouse catalog`: the place of the catalog."""

from cyclopts import App

from stillhouse.cli.terminal import command, settings
from stillhouse.cli.terminal.command import Data, Json

catalog = App(name="catalog", help="The catalog's place: a file in the data directory, or PostgreSQL.")


@catalog.command
def move(*, data: Data, to: str, json_: Json = False) -> None:
    """Carry the catalog over to another place, with the flows that have not ended. The service must be stopped.

    The present catalog is the one that STILLHOUSE_CATALOG names. Killed half-way, the same command completes the move.

    Parameters
    ----------
    to
        postgresql://ROLE@HOST:PORT/DATABASE, or `sqlite` for the file in the data directory.
    """
    from stillhouse.control.upkeep.move_catalog import move_catalog

    def carry() -> None:
        moved = move_catalog(settings.read({"data": data}), to)
        source, target = moved.source.shown, moved.target.shown
        if json_:
            command.say_json({"from": source, "to": target, "rows": moved.rows})
            return
        if moved.rows:
            command.say(f"{sum(moved.rows.values())} rows moved from {source} to {target}.")
        else:
            command.say(f"the catalog is at {target} already.")
        setting = (
            "unset STILLHOUSE_CATALOG" if moved.target.is_file else "set STILLHOUSE_CATALOG to the new place"
        )
        command.say(f"Now {setting}, and start the service.")

    command.run(carry)
