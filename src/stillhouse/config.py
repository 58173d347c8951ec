"""Settings of a service, read from the environment (`STILLHOUSE_*`) and the command line."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything under `data` is created by the service; nothing else on the host is touched.

    `tls_cert` and `tls_key` are PEM files, read again when they change. Without them plain HTTP is answered: on
    loopback addresses, and on others if `insecure`.
    `listen_clusters` is the address of this host, by name or number, on which clusters are reached from other hosts,
    with the same certificate; unset = on loopback addresses alone. `stop_clusters`: whether their servers stop with the
    service; else they go on without it, and the next service finds them.
    `region` and `public_url` go to clients in the catalog of services: `public_url` is the address that they use,
    `http(s)://HOST:PORT`; unset = the one they asked, if it is surely this service's (`api/gateway/addresses.py`).
    `pg_bin` points to another PostgreSQL's bin directory; unset = the embedded one.
    `repository` is a directory or an `s3://bucket/prefix` URL; unset = `<data>/repository`.
    `capture_bytes_per_second` bounds the rate at which a capture reads each node (0: no bound); `capture_io_priority`
    and `capture_checkpoint` are as `domain/care.py` has them.
    `whole_every`: one of so many captures of a node in a row reads everything anew.
    `cut_deadline_seconds`: how long a snapshot may wait for its cut, all its attempts together; copying does not count.
    `snapshot_queue`: so many snapshots of a cluster may wait for one that is being taken; 0 = they are refused.
    `check_up_hours`: how often the servers of a registered cluster are checked up; 0 = only on request.
    `timer_seconds`: how often the timer looks for due work (automated snapshots, retention).
    `default_policies`: whether a new cluster begins with the policies that DWS gives it.
    `free_gb_per_node`: the free storage in ListSnapshotStatistics; more is not billed either.
    `scrub_max_age_days`: a pack that was not read whole for longer is overdue, and snapshots say so.
    `scrub_rate_bytes`: how fast packs are read whole in the background, per second; 0 = not at all.
    `fingerprint_seconds`: how long, per node, tables' fingerprints are read at a snapshot's cut, the smallest first;
    0 = no fingerprints. Short by default: the work follows the size of the tables, not that of the change.
    `flow_record_days`: the records of a finished flow's steps are kept for so long, for a look at what it did.
    `trash_days`: a deleted snapshot can be brought back for so long; 0: until the next collection.
    `collect_every_hours`: how often a cluster's part of the repository is collected. An object is removed when it was
    found unneeded twice, `collect_grace_hours` apart.
    `clone_network`: "own" gives a clone that is not open yet an isolated network of its own, if the host can; "host"
    does not: then restore and prove no snapshot of users that you do not trust.
    `metrics`: answer `GET /metrics`, and the reasons of `GET /readyz`, to this host itself, without a signature. A
    request that names a proxy in its headers is not this host's, unless `metrics_through_proxy`.
    `trusted_proxies`: addresses and networks of proxies, separated by commas. `X-Forwarded-For` and `X-Forwarded-Proto`
    count in their requests, and in no others.
    `max_connections`: so many connections are open at once, and `max_connections_per_address` of them from one
    address (an IPv6 network of 64 bits counts as one, a trusted proxy is not bounded by it).
    `requests_per_second_per_key`, `requests_per_second_per_project`: the lasting rate of a known caller; twice as many
    at a time are taken. 0 = no bound.
    `quota_clusters`, `quota_nodes`, `quota_disk_gb`: the most that one project may have; 0 = no bound.
    `os_uids`: if the service is root, each cluster's servers get an account of their own with one of these numbers;
    empty: all run as `os_user`. If clusters share an account, an intruder who breaks out of one server has them all,
    so a second project is refused unless `shared_account` is "accepted".
    `store_retry_seconds`: how long snapshots, restores and collections retry a call to an S3 store that is away.
    Requests, and the start of the service, give up after a few seconds.
    `kek_file` holds the key-encryption key; unset = `<data>/kek`. Lose it and every snapshot is lost.
    """

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True)

    data: Path
    listen: str = "127.0.0.1:8080"
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    public_url: str = ""
    listen_clusters: str = ""
    stop_clusters: bool = False
    region: str = "local-1"
    pg_bin: Path | None = None
    os_user: str = "stillhouse"
    os_uids: str = Field("1900000000-1900999999", pattern=r"^(\d{1,10}-\d{1,10})?$")
    shared_account: Literal["", "accepted"] = ""
    repository: str = ""
    kek_file: Path | None = None
    store_retry_seconds: float = Field(120, ge=0, le=3600)
    capture_workers: int = 2
    capture_bytes_per_second: int = Field(0, ge=0)
    capture_io_priority: Literal["normal", "low", "idle"] = "normal"
    capture_checkpoint: Literal["fast", "spread"] = "fast"
    whole_every: int = 16
    cut_deadline_seconds: float = 1800
    snapshot_queue: int = Field(8, ge=0)
    fingerprint_seconds: float = 10
    wal_retention_bytes: int = 10 * 2**30
    check_up_hours: float = Field(24, ge=0)
    trash_days: int = Field(7, ge=0)
    timer_seconds: float = 10
    flow_record_days: int = Field(7, ge=1)
    default_policies: bool = True
    free_gb_per_node: int = 200
    scrub_max_age_days: int = 90
    scrub_rate_bytes: int = 10 * 2**20
    collect_every_hours: float = 24
    collect_grace_hours: float = Field(24, ge=0)
    clone_network: Literal["own", "host"] = "own"
    metrics: bool = True
    metrics_through_proxy: bool = False
    trusted_proxies: str = ""
    max_connections: int = Field(1000, ge=16, le=100_000)
    max_connections_per_address: int = Field(200, ge=1)
    requests_per_second_per_key: float = Field(200, ge=0)
    requests_per_second_per_project: float = Field(400, ge=0)
    quota_clusters: int = Field(100, ge=0)
    quota_nodes: int = Field(400, ge=0)
    quota_disk_gb: int = Field(0, ge=0)
    log_level: str = "INFO"
