"""Settings of a service, read from the environment (`STILLHOUSE_*`) and the command line."""

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything under `data` is created by the service; nothing else on the host is touched.

    `pg_bin` points to another PostgreSQL's bin directory; unset = the embedded one.
    `repository` is a directory or an `s3://bucket/prefix` URL; unset = `<data>/repository`.
    `whole_every`: of so many captures of a node in a row one reads everything anew.
    `metrics`: answer `GET /metrics` to this host itself, without a signature; off where a proxy here lets others in.
    `kek_file` holds the key-encryption key; unset = `<data>/kek`. Lose it and every snapshot is lost.
    """

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True)

    data: Path
    listen: str = "127.0.0.1:8080"
    pg_bin: Path | None = None
    os_user: str = "stillhouse"
    repository: str = ""
    kek_file: Path | None = None
    capture_workers: int = 2
    whole_every: int = 16
    cut_deadline_seconds: float = 1800
    wal_retention_bytes: int = 10 * 2**30
    trash_days: int = 7
    metrics: bool = True
    log_level: str = "INFO"
