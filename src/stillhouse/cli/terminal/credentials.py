"""The service's address and the caller's credentials: from flags, a profile, the environment or the SDK's own file.

The order, in which the first that names a thing wins: flags; the profile that is named; STILLHOUSE_* and CLOUD_SDK_*
variables; the profile `default`; the variables and the file of Huawei Cloud's SDK for Python (`huaweicloudsdkcore`,
auth/provider.py). A key and its secret come from one place. No secret comes from the command line, which everybody on
the host can read.
"""

import configparser
import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cyclopts import Parameter

from stillhouse.cli.terminal.near import did_you_mean
from stillhouse.domain.ids import is_project_id
from stillhouse.errors import InvalidInput

_DEFAULT_ENDPOINT = "http://127.0.0.1:8080"
# As it goes into headers and paths: no blanks, and nothing beyond ASCII.
_ADDRESS = re.compile(r"https?://[!-.0-~][!-~]*")
_OTHERS_MAY_READ = 0o077
_IN_PROFILE = ("endpoint", "project", "access_key", "secret_key", "key_file", "ca_file")


@Parameter(name="*")
@dataclass(frozen=True)
class Access:
    """The service's address, and the caller's credentials.

    Parameters
    ----------
    endpoint
        Address of the service. [env: STILLHOUSE_ENDPOINT; default: http://127.0.0.1:8080]
    project
        Project id: 32 lower-case hexadecimal digits. [env: STILLHOUSE_PROJECT]
    access_key
        Access key; its secret comes from CLOUD_SDK_SK. [env: CLOUD_SDK_AK]
    key_file
        A file with the output of `stillhouse key create --json`, which only you can read; in place of the others.
        [env: STILLHOUSE_KEY_FILE]
    ca_file
        A PEM file with the certificates of the authorities that are trusted, in place of the system's. [env:
        STILLHOUSE_CA_FILE]
    profile
        A profile in ~/.config/stillhouse/profiles.toml that has these. [env: STILLHOUSE_PROFILE]
    """

    endpoint: str = ""
    project: str = ""
    access_key: str = ""
    key_file: Path | None = None
    ca_file: Path | None = None
    profile: str = ""


@dataclass(frozen=True)
class Key:
    project: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True)
class Entry:
    """All that a client needs. Without a `ca_file` the system's authorities are trusted."""

    endpoint: str
    key: Key
    ca_file: Path | None


Said = Mapping[str, str]


def entry(access: Access, environment: Mapping[str, str] = os.environ) -> Entry:
    """Find the address and the credentials. Raises InvalidInput, which names the missing thing and its places."""
    sources = [_of_flags(access, environment)]
    named = access.profile or environment.get("STILLHOUSE_PROFILE", "")
    profiles = _profiles(environment)
    if named:
        sources.append(_profile(profiles, named))
    sources.append(_of_environment(environment))
    if not named and "default" in profiles:
        sources.append(_profile(profiles, "default"))
    sources.append(_of_sdk_variables(environment))
    if not any(_has_key(one) for one in sources):
        sources.append(_of_sdk_file(environment))
    signing = next((one for one in sources if _has_key(one)), None)
    if signing is None:
        raise InvalidInput(
            "there is no access key to sign with",
            hint="set CLOUD_SDK_AK and CLOUD_SDK_SK, or name a --key-file or a --profile (docs/terminal.md)",
        )
    project = _first(sources, "project")
    if not is_project_id(project):
        raise InvalidInput(
            "a project id is 32 lower-case hexadecimal digits",
            hint="give it with --project, STILLHOUSE_PROJECT, a --key-file or a --profile",
        )
    endpoint, ca_file = _first(sources, "endpoint") or _DEFAULT_ENDPOINT, _first(sources, "ca_file")
    if not _ADDRESS.fullmatch(endpoint):
        raise InvalidInput(
            f"{endpoint!r} is no address of a service", hint="http://HOST:PORT or https://HOST"
        )
    if not (signing["access_key"].isascii() and signing["access_key"].isprintable()):
        raise InvalidInput(
            f"{signing['access_key']!r} is no access key",
            hint="`stillhouse key create` prints one, and its secret",
        )
    key = Key(project, signing["access_key"], signing["secret_key"])
    return Entry(endpoint.rstrip("/"), key, Path(ca_file) if ca_file else None)


def _first(sources: list[Said], name: str) -> str:
    return next((one[name] for one in sources if one.get(name)), "")


def _has_key(said: Said) -> bool:
    return bool(said.get("access_key") and said.get("secret_key"))


def _of_flags(access: Access, environment: Mapping[str, str]) -> Said:
    said = {"endpoint": access.endpoint, "project": access.project}
    said |= {"ca_file": str(access.ca_file)} if access.ca_file else {}
    if access.key_file is not None:
        return _with_key_file(said, access.key_file)
    if access.access_key:
        said |= {"access_key": access.access_key, "secret_key": environment.get("CLOUD_SDK_SK", "")}
    return said


def _of_environment(environment: Mapping[str, str]) -> Said:
    named = {
        "endpoint": "STILLHOUSE_ENDPOINT",
        "project": "STILLHOUSE_PROJECT",
        "ca_file": "STILLHOUSE_CA_FILE",
        "access_key": "CLOUD_SDK_AK",
        "secret_key": "CLOUD_SDK_SK",
    }
    said = {name: environment.get(variable, "") for name, variable in named.items()}
    key_file = environment.get("STILLHOUSE_KEY_FILE")
    return _with_key_file(said, Path(key_file)) if key_file else said


def _of_sdk_variables(environment: Mapping[str, str]) -> Said:
    named = {"access_key": "AK", "secret_key": "SK", "project": "PROJECT_ID"}
    return {name: environment.get(f"HUAWEICLOUD_SDK_{rest}", "") for name, rest in named.items()}


def _of_sdk_file(environment: Mapping[str, str]) -> Said:
    """Read the section `basic` of the SDK's file of credentials, if there is one."""
    given = environment.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE")
    path = Path(given) if given else Path.home() / ".huaweicloud" / "credentials"
    if not given and not path.exists():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_private_text(path))
        section = parser["basic"]
    except (configparser.Error, KeyError) as error:
        raise InvalidInput(
            f"{path} is no file of the SDK's credentials: {error}",
            hint="it has a section [basic] with ak, sk and project_id",
        ) from error
    named = {"access_key": "ak", "secret_key": "sk", "project": "project_id"}
    return {name: section.get(word, "") for name, word in named.items()}


def _profiles(environment: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Read all profiles, if there are any. Raises InvalidInput for a wrong file, or one that others may read."""
    path = (
        Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "stillhouse" / "profiles.toml"
    )
    if not path.exists():
        return {}
    try:
        found = tomllib.loads(_private_text(path))
    except ValueError as error:
        raise InvalidInput(f"{path} is no TOML file: {error}") from error
    for name, said in found.items():
        if not isinstance(said, dict) or not all(isinstance(value, str) for value in said.values()):
            raise InvalidInput(
                f"{path}: {name} is no profile",
                hint=f"a profile is [{name}] with texts: {', '.join(_IN_PROFILE)}",
            )
        for word in said:
            if word not in _IN_PROFILE:
                raise InvalidInput(
                    f"{path}: {word} is nothing that a profile has", hint=f"it has {', '.join(_IN_PROFILE)}"
                )
    return found


def _profile(profiles: Mapping[str, dict[str, str]], name: str) -> Said:
    if name not in profiles:
        places = "they stand in ~/.config/stillhouse/profiles.toml"
        raise InvalidInput(
            f"there is no profile named {name[:64]}",
            hint=did_you_mean(name, {one: one for one in profiles}, places),
        )
    said = profiles[name]
    return _with_key_file(said, Path(said["key_file"]).expanduser()) if "key_file" in said else said


def _with_key_file(said: Said, path: Path) -> Said:
    """Add a key file's keys, and its project where no other is said."""
    try:
        found = json.loads(_private_text(path))
    except ValueError as error:
        raise InvalidInput(f"{path} is no key file: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidInput(
            f"{path} is no key file", hint="it holds the output of `stillhouse key create --json`"
        )
    keys = {name: found.get(name, "") for name in ("access_key", "secret_key")}
    return {**said, **keys, "project": said.get("project") or found.get("project_id", "")}


def _private_text(path: Path) -> str:
    """Read a file that holds a secret. Raises InvalidInput if others may read it, or it cannot be read."""
    try:
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS_MAY_READ:
            raise InvalidInput(f"others than its owner may read {path}", hint=f"chmod 600 {path}")
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"cannot read {path}: {error}") from error
