"""Which snapshots of a cluster stay when it is deleted or forgotten: all manual ones, unless a flag says otherwise."""

from stillhouse.errors import InvalidInput

ALL = 2**31 - 1  # the largest number that the API takes


def number_kept(keep: int | None, *, delete_all: bool) -> int:
    """Return how many of the newest manual snapshots stay. Raises InvalidInput if the flags contradict each other."""
    if delete_all and keep:
        raise InvalidInput("--keep-snapshots and --delete-snapshots contradict each other")
    return 0 if delete_all else ALL if keep is None else keep


def fate(kept: int) -> str:
    """Tell what becomes of the snapshots, in one sentence."""
    if kept == 0:
        return "All of its snapshots go to the trash."
    stay = "Its manual snapshots" if kept == ALL else f"The newest {kept} of its manual snapshots"
    return f"{stay} stay, the others go to the trash."
