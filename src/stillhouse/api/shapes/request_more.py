"""Shapes of requests of the newer cluster operations, and of those on tags and databases; see `request`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from stillhouse.api.shapes.request import ClusterId, DecimalText, PublicIp, Request, Tag, Text
from stillhouse.control.clusters.tags import MOST as MOST_TAGS
from stillhouse.domain import names
from stillhouse.domain.table_restore import MOST_TABLES

Tags = Annotated[list[Tag], Field(max_length=MOST_TAGS)]


def _without_empty(zones: object) -> object:
    """Read zones. Terraform splits a text at commas, and so sends `[""]` for no zone."""
    return [zone for zone in zones if zone != ""] if isinstance(zones, list) else zones


Zones = Annotated[list[Text], Field(max_length=3), BeforeValidator(_without_empty)]


def _job_id(text: str) -> str:
    if len(text) != 32 or not all(char in "0123456789abcdefABCDEF" for char in text):
        raise ValueError("must be 32 hexadecimal digits")
    return text.lower()


JobId = Annotated[str, AfterValidator(_job_id)]


class Volume(Request):
    volume: Text | None = None
    capacity: DecimalText | None = None
    iops: DecimalText | None = None


class ClusterToCreateV2(Request):
    name: str
    flavor: Text
    num_node: int
    num_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    db_name: str
    db_password: SecretStr
    db_port: DecimalText = names.DEFAULT_PORT
    availability_zones: Zones | None = None
    vpc_id: Text
    subnet_id: Text
    security_group_id: Text | None = None
    datastore_version: Text | None = None
    volume: Volume | None = None
    tags: Tags | None = None
    public_ip: PublicIp | None = None
    dss_pool_id: Text | None = None
    master_key_id: Text | None = None
    master_key_name: Text | None = None
    crypt_algorithm: Text | None = None
    enterprise_project_id: Text | None = None
    ipv6_enable: bool | None = None


class CreateClusterV2Request(Request):
    cluster: ClusterToCreateV2


class RestorePoint(Request):
    back_ref: Text | None = None
    restore_time: int | None = None
    cluster_id: ClusterId | None = None


class ClusterToCheck(Request):
    flavor: Text
    availability_zones: Zones
    num_node: int
    datastore_version: Text
    vpc_id: Text
    subnet_id: Text
    security_group_id: Text | None = None
    public_ip: PublicIp | None = None
    volume: Volume | None = None
    tag_list: Tags | None = None
    db_port: DecimalText | None = None
    db_password: SecretStr | None = None
    db_name: str | None = None
    num_cn: Annotated[int, Field(ge=1, le=20)] | None = None
    name: str | None = None
    dss_pool_id: Text | None = None
    enterprise_project_id: Text | None = None
    cross_spec_restore: Text | None = None
    old_cluster_hostname: Text | None = None
    restore_point: RestorePoint | None = None


class CheckClusterRequest(Request):
    cluster: ClusterToCheck


class BatchTagsRequest(Request):
    tags: Annotated[list[Tag], Field(min_length=1, max_length=MOST_TAGS)]


class TagRequest(Request):
    """One tag, from Open Telekom Cloud's API like the next shape."""

    tag: Tag


class TagsActionRequest(BatchTagsRequest):
    action: Literal["create", "delete"]


class NameRequest(Request):
    cluster_name: str


class DescriptionRequest(Request):
    description_info: Annotated[str, Field(max_length=1024)] | None = None


class TimeZoneRequest(Request):
    cluster_timezone: Annotated[str, Field(max_length=64)]


class LogicalClusterSwitchRequest(Request):
    enable: bool


class ValidateDbDataRequest(Request):
    type: Literal["schema", "table"]
    data: Annotated[list[str], Field(max_length=1000)]


class NamedTable(Request):
    schema_name: str
    table_name: str


NamedTables = Annotated[list[NamedTable], Field(min_length=1, max_length=MOST_TABLES)]


class TableRestoreRequest(Request):
    """The body of RestoreTable, and of CheckTableRestore before it."""

    case_sensitive: bool
    database: str
    restore_table_list: NamedTables
    target_table_list: NamedTables
