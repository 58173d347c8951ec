"""Releases of PostgreSQL that are refused because they are too old, and why."""

# The first minor release that knows restrict_nonsystem_relation_kind, for each major version that began without it:
# https://www.postgresql.org/support/security/CVE-2024-7348/
_FIRST_MINOR = {15: 8, 16: 4}
_FIRST_MAJOR = 15


def why_too_old(version_num: int) -> str:
    """Say why a server or its programs are refused, by `server_version_num`. Empty if they are accepted."""
    major, minor = divmod(version_num, 10_000)
    if major >= _FIRST_MAJOR and minor >= _FIRST_MINOR.get(major, 0):
        return ""
    first = max(major, _FIRST_MAJOR)
    return (
        f"PostgreSQL {major}.{minor} is too old: without restrict_nonsystem_relation_kind, which"
        f" {first}.{_FIRST_MINOR.get(first, 0)} has, a tenant's functions get the rights of the reader of his tables"
    )
