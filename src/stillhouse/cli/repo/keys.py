"""`stillhouse repo key` and `repo shred`: the key-encryption key and the clusters' keys that it wraps."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from stillhouse.cli.repo.app import KekFile, Location, open_bucket
from stillhouse.cli.terminal import command
from stillhouse.cli.terminal.command import Json

key = App(name="key", help="The key-encryption key (KEK), and the clusters' keys that it wraps.")

_KEEP = (
    "Keep it where the bucket is not: on paper, in a password safe. Who has both can read every snapshot;\n"
    "without the key the bucket is worth nothing. Written to a file, as 64 hex digits, it is a --kek-file."
)
NEW_KEY = "{file} is a new key: copy it to a safe place, without it the repository is worth nothing."


@key.command
def export(*, kek_file: KekFile, to: Path | None = None, json_: Json = False) -> None:
    """Show the KEK, for a copy in a safe place.

    Parameters
    ----------
    kek_file
        The file that holds it.
    to
        Write it to this new file, which only its owner can read, and show the key's id alone.
    json_
        Print one JSON object.
    """
    from stillhouse.errors import InvalidInput
    from stillhouse.repository.format.cipher_keys import read_kek, write_kek

    def show() -> None:
        kek = read_kek(kek_file)
        if to is not None and not write_kek(kek, to):
            raise InvalidInput(f"{to} is there already; it is not overwritten")
        shown = {"key": kek.secret.hex()} if to is None else {"file": str(to)}
        if json_:
            command.say_json({"id": kek.id, **shown})
        else:
            fields = {"id": kek.id, **shown}.items()
            command.say("\n".join(f"{name:<5}{value}" for name, value in fields) + f"\n\n{_KEEP}")

    command.run(show)


@key.command
def check(*, repository: Location, kek_file: KekFile, json_: Json = False) -> None:
    """Tell whether the KEK opens every cluster of the repository. Exit code 1 if it does not.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the KEK.
    json_
        Print one JSON object.
    """
    from stillhouse.errors import InvalidInput, RepositoryDamaged
    from stillhouse.repository.format.cipher_keys import open_keys

    def look() -> None:
        bucket = open_bucket(repository, kek_file, any_kek=True)
        told: dict[str, dict[str, object]] = {}
        for cluster in bucket.clusters:
            try:
                generations = sorted(open_keys(bucket.store, bucket.kek, cluster).generations)
                told[cluster] = {"opens": True, "generations": generations}
            except (InvalidInput, RepositoryDamaged) as error:
                told[cluster] = {"opens": False, "reason": str(error)}
        opens = all(cluster["opens"] for cluster in told.values())
        if json_:
            command.say_json({"id": bucket.kek.id, "opens": opens, "clusters": told})
        else:
            for cluster, facts in told.items():
                command.say(f"{cluster}  {'opens' if facts['opens'] else facts['reason']}")
            verdict = "opens every cluster" if opens else "does not open every cluster"
            command.say(f"KEK {bucket.kek.id} {verdict}: {len(told)} in the repository.")
        if not opens:
            raise SystemExit(1)

    command.run(look)


@key.command
def rotate(
    *,
    repository: Location,
    kek_file: KekFile,
    new_kek_file: Path,
    keep_old: Annotated[bool, Parameter(negative="")] = False,
    json_: Json = False,
) -> None:
    """Wrap every cluster's keys by another KEK; afterwards the old one opens nothing.

    Nothing but a few small objects is written. A service that still uses the old KEK is refused the repository from
    then on: so either stop it meanwhile, or rotate with --keep-old, let it start with the new KEK, and rotate again.
    If it is killed, the same command completes the work.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the old KEK.
    new_kek_file
        The file of the new one; the key is made when the file is missing.
    keep_old
        Leave the old KEK good as well.
    json_
        Print one JSON object.
    """
    from stillhouse.repository.upkeep import rotate as rotation
    from stillhouse.repository.upkeep.kek_fit import kek_to_rotate_to

    def turn() -> None:
        bucket = open_bucket(repository, kek_file)
        new, is_new = kek_to_rotate_to(bucket.store, repository, bucket.kek, new_kek_file)
        done = rotation.rotate(bucket.store, bucket.kek, new, keep_old=keep_old)
        if json_:
            fields = {name: getattr(done, name) for name in ("clusters", "wrapped", "removed")}
            command.say_json({"old": bucket.kek.id, "new": new.id, **fields, "foreign": list(done.foreign)})
            return
        command.say(f"KEK {new.id} opens {done.clusters} clusters; {done.wrapped} keys were wrapped anew.")
        for cluster in done.foreign:
            command.say(f"Cluster {cluster} is sealed with neither KEK and was left alone.")
        if keep_old:
            command.say(
                f"KEK {bucket.kek.id} is still good: give the service the new one, then rotate again."
            )
        else:
            command.say(
                f"KEK {bucket.kek.id} opens nothing any more, but for old versions that the bucket may keep."
            )
        if is_new:
            command.say(NEW_KEY.format(file=new_kek_file))

    command.run(turn)


@key.command(name="new-generation")
def new_generation(
    *, repository: Location, kek_file: KekFile, cluster: str = "", json_: Json = False
) -> None:
    """Draw a new cluster key for later writes; existing objects stay readable.

    Captures at work go on with the key that they began with.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the KEK.
    cluster
        Only this cluster, by its id; all by default.
    json_
        Print one JSON object.
    """
    from stillhouse.repository.format import cipher_keys

    def draw() -> None:
        bucket = open_bucket(repository, kek_file, cluster)
        made = {one: cipher_keys.new_generation(bucket.store, bucket.kek, one) for one in bucket.clusters}
        if json_:
            command.say_json({"generations": made})
        else:
            command.say("\n".join(f"{one}  generation {generation}" for one, generation in made.items()))

    command.run(draw)


def shred(
    *,
    repository: Location,
    kek_file: KekFile,
    cluster: str,
    yes_i_am_sure: str,
    json_: Json = False,
) -> None:
    """Remove a cluster's keys, so that no snapshot of it can ever be read again, and then all its objects.

    Nothing brings them back. A bucket that keeps old versions keeps those of the keys too: remove them there.

    Parameters
    ----------
    repository
        A directory or s3://bucket/prefix.
    kek_file
        The file that holds the KEK.
    cluster
        The cluster's id.
    yes_i_am_sure
        The cluster's name, to show that it is the one that is meant.
    json_
        Print one JSON object.
    """
    from stillhouse.repository.upkeep import rotate as rotation

    def remove() -> None:
        bucket = open_bucket(repository, kek_file, cluster)
        removed = rotation.shred(bucket.store, bucket.kek, cluster.lower(), yes_i_am_sure)
        if json_:
            command.say_json({"cluster": cluster.lower(), "removed": removed})
        else:
            command.say(
                f"Cluster {cluster.lower()} is shredded: {removed} objects removed, its keys first.\n"
                "If the bucket keeps old versions of objects, remove those too: with them it can be read again."
            )

    command.run(remove)
