"""Settings of a service: names, defaults, bounds and meanings. `docs/settings.md` is generated from them."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "STILLHOUSE_"


def _in_capitals(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class Settings(BaseSettings):
    """A field `name` is `STILLHOUSE_NAME` in the environment; an argument given to the class wins over it.

    `cli/terminal/settings.py` reads a file beside the environment, and refuses unknown names.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    data: Path = Field(
        description="The data directory. Everything is made below it, and nothing else on the host is touched."
    )
    repository: str = Field(
        "",
        description="A directory or an `s3://bucket/prefix` URL ([its parameters](repository.md#an-s3-service)); "
        "unset: `repository` in the data directory.",
    )
    catalog: str = Field(
        "",
        description="A PostgreSQL database for the catalog, `postgresql://ROLE@HOST:PORT/DATABASE`, with libpq's "
        "parameters such as `sslrootcert`; unset: `catalog.sqlite` in the data directory. It holds no password "
        "([catalog.md](catalog.md)). `stillhouse catalog move` carries a catalog there.",
    )
    catalog_connections: int = Field(
        32,
        ge=8,
        le=1000,
        description="So many connections to a PostgreSQL catalog serve requests and flows. Half as many more are the "
        "workflow engine's, and six are for other uses.",
    )
    standby: bool = Field(
        False,
        description="Wait while another service works on the catalog, and take its place when that ends; unset: the "
        "start is refused then. The catalog must be on PostgreSQL.",
    )
    replica: bool = Field(
        False,
        description="Answer beside another service that works on the catalog, and take its place when that ends "
        "([catalog.md](catalog.md#several-services)). The catalog must be on PostgreSQL.",
    )
    kek_file: Path | None = Field(
        None,
        description="The key-encryption key; unset: `kek` in the data directory. Lose it and every snapshot is lost.",
    )
    store_retry_seconds: float = Field(
        120,
        ge=0,
        le=3600,
        description="How long snapshots, restores and collections retry a call to an S3 store that is away. Requests, "
        "and the start of the service, give up after a few seconds.",
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_in_capitals)
    ] = Field(
        "INFO", description="Lines below this level are not written. `DEBUG` has a line for each request."
    )

    listen: str = Field(
        "127.0.0.1:8080", description="`HOST:PORT` to answer on; plain HTTP only on loopback addresses."
    )
    tls_cert: Path | None = Field(
        None, description="The certificate, a PEM file with its chain, read again when it changes."
    )
    tls_key: Path | None = Field(None, description="The certificate's key, a PEM file.")
    insecure: bool = Field(
        False, description="Answer plain HTTP on addresses that are not loopback ones too."
    )
    public_url: str = Field(
        "",
        description="The address that clients use, `http(s)://HOST:PORT`, as the catalog of services tells it; unset: "
        "the one they asked, if it is surely this service's.",
    )
    region: str = Field("local-1", description="The region's name in the catalog of services.")
    trusted_proxies: str = Field(
        "",
        description="Addresses and networks of proxies, separated by commas. `X-Forwarded-For` and `X-Forwarded-Proto` "
        "count in their requests, and in no others.",
    )
    metrics: bool = Field(
        True,
        description="Answer `GET /metrics`, and the reasons of `GET /readyz`, to this host itself, unsigned.",
    )
    metrics_through_proxy: bool = Field(
        False,
        description="A request that names a proxy in its headers is not this host's, unless this is set.",
    )

    console: bool = Field(
        True, description="Answer the web console below `/console` ([console.md](console.md))."
    )
    console_idle_minutes: float = Field(
        15,
        gt=0,
        le=1440,
        description="A session of the console ends when no page was asked for so long; watching does not count.",
    )
    console_hours: float = Field(
        12, gt=0, le=168, description="A session of the console ends after so many hours in any case."
    )

    max_connections: int = Field(1000, ge=16, le=100_000, description="So many connections are open at once.")
    max_connections_per_address: int = Field(
        200,
        ge=1,
        description="So many of them from one address. An IPv6 network of 64 bits counts as one; a trusted proxy is "
        "not bounded by it.",
    )
    requests_per_second_per_key: float = Field(
        200,
        ge=0,
        description="The lasting rate of one access key; twice as many at a time are taken. 0: no bound.",
    )
    requests_per_second_per_project: float = Field(
        400, ge=0, description="The same of one project, all its keys together. 0: no bound."
    )
    quota_clusters: int = Field(100, ge=0, description="Clusters that one project may have. 0: no bound.")
    quota_nodes: int = Field(400, ge=0, description="Nodes that one project may have. 0: no bound.")
    quota_disk_gb: int = Field(
        0, ge=0, description="Disk of the clusters that one project may have, in GB. 0: no bound."
    )

    listen_clusters: str = Field(
        "",
        description="The address of this host, by name or number, on which clients on other hosts reach the clusters "
        "made here, with the service's certificate; unset: on loopback addresses alone.",
    )
    stop_clusters: bool = Field(
        False,
        description="Stop the clusters' servers with the service; else they go on, and the next start finds them.",
    )

    pg_bin: Path | None = Field(
        None,
        description="The `bin` directory of the PostgreSQL that new clusters get; unset: the one that comes with the "
        "packages.",
    )
    pg_bins: str = Field(
        "",
        description="`bin` directories of other major versions, separated by colons, for restored clusters and for "
        "proofs. One of the packages' own major version takes the place of theirs. Where neither this nor `pg_bin` is "
        "set, Debian's `/usr/lib/postgresql/VERSION/bin` are used too, if they and their files are root's alone.",
    )
    os_user: str = Field(
        "stillhouse",
        description="The account that runs PostgreSQL, if the service is root and `os_uids` is empty.",
    )
    os_uids: str = Field(
        "1900000000-1900999999",
        pattern=r"^(\d{1,10}-\d{1,10})?$",
        description="If the service is root, each cluster's servers get an account of their own with one of these "
        "numbers. Empty: all run as `os_user`, and an intruder who breaks out of one server has them all.",
    )
    shared_account: Literal["", "accepted"] = Field(
        "",
        description="A second project is refused where clusters share an account, unless this is `accepted`.",
    )
    clone_network: Literal["own", "host"] = Field(
        "own",
        description="`own`: a clone that is not open yet has an isolated network, if the host can. `host`: it has not; "
        "then restore and prove no snapshot of users that you do not trust.",
    )
    wal_retention_bytes: int = Field(
        10 * 2**30,
        ge=0,
        description="A capture ends in failure when it holds back more WAL than so many bytes on its node.",
    )
    free_gb_per_node: int = Field(
        200, ge=0, description="The free storage in ListSnapshotStatistics; more is not billed either."
    )

    capture_workers: int = Field(
        2, ge=1, description="Threads that read one node's files, or write them back."
    )
    nodes_at_once: int = Field(
        0,
        ge=0,
        description="So many nodes are captured or restored at once; of each snapshot and restore one in any case. "
        "0: as many as the host has cores, and two at least.",
    )
    capture_bytes_per_second: int = Field(
        0, ge=0, description="The rate at which a capture reads each node, in bytes. 0: no bound."
    )
    capture_io_priority: Literal["normal", "low", "idle"] = Field(
        "normal", description="How the kernel ranks a capture's reads against those of the servers."
    )
    capture_checkpoint: Literal["fast", "spread"] = Field(
        "fast",
        description="`spread`: the checkpoint at a capture's begin is stretched, which is slower and gentler.",
    )
    whole_every: int = Field(
        16,
        ge=0,
        description="One of so many captures of a node in a row reads everything anew, and takes from the repository "
        "only what it reads there too. 0: each does.",
    )
    cut_deadline_seconds: float = Field(
        1800,
        ge=0,
        description="How long a snapshot may wait for its cut, all its attempts together; copying does not count.",
    )
    snapshot_queue: int = Field(
        8,
        ge=0,
        description="So many snapshots of a cluster may wait for one that is being taken. 0: they are refused.",
    )
    fingerprint_seconds: float = Field(
        10,
        ge=0,
        description="How long, per node, tables' fingerprints are read at a snapshot's cut, the smallest first; the "
        "work follows the size of the tables, not that of the change. 0: no fingerprints.",
    )

    timer_seconds: float = Field(
        10,
        gt=0,
        description="How often the timer looks for due work: automated snapshots, retention, checks.",
    )
    default_policies: bool = Field(
        True, description="A new cluster begins with the policies that DWS gives it."
    )
    trash_days: int = Field(
        7,
        ge=0,
        description="A deleted snapshot can be brought back for so long. 0: until the next collection.",
    )
    check_up_hours: float = Field(
        24,
        ge=0,
        description="How often the servers of a registered cluster are checked up. 0: only on request.",
    )
    collect_every_hours: float = Field(
        24, ge=0, description="How often a cluster's part of the repository is collected."
    )
    collect_grace_hours: float = Field(
        24,
        ge=0,
        description="An object is removed when it was found unneeded twice, so many hours apart.",
    )
    scrub_max_age_days: int = Field(
        90,
        ge=0,
        description="A pack that was not read whole for longer is overdue, and snapshots say so.",
    )
    scrub_rate_bytes: int = Field(
        10 * 2**20,
        ge=0,
        description="How fast packs are read whole in the background, in bytes per second. 0: not at all.",
    )
    flow_record_days: int = Field(
        7,
        ge=1,
        description="The records of a finished flow's steps are kept for so long, for a look at its course.",
    )

    @property
    def pg_directories(self) -> tuple[Path, ...]:
        """The directories in `pg_bins`."""
        return directories_in(self.pg_bins)


def directories_in(text: str) -> tuple[Path, ...]:
    """Return the directories in a list as PATH has it."""
    return tuple(Path(part) for each in text.split(os.pathsep) if (part := each.strip()))
