"""Operations of the DWS API that are not built yet. They have names, so that a client is told so."""

from stillhouse.domain.api_operations.needs import OPERATE_RECOVERY
from stillhouse.domain.api_operations.operation import PROJECT, Operation, need

_NO_RECOVERY = "disaster recovery between two clusters is not built yet; restore a snapshot instead"
_NO_SUBSCRIPTIONS = "subscriptions to events are not built yet; ListEvents tells of them"
_NO_ALARMS = "alarms are not built yet; `/metrics` is there for a collector"
_RECOVERY = f"{PROJECT}/disaster-recovery/{{disaster_recovery_id}}"

NOT_YET = (
    Operation(
        "CreateDisasterRecovery",
        "POST",
        f"/v2{PROJECT}/disaster-recoveries",
        need("dws:disasterRecovery:create"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "ListDisasterRecover",
        "GET",
        f"/v2{PROJECT}/disaster-recoveries",
        need("dws:disasterRecovery:list"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "ListAvailableDisasterClusters",
        "GET",
        f"/v2{PROJECT}/disaster-recovery-clusters",
        need("dws:disasterRecovery:list"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "CheckDisasterName",
        "GET",
        f"/v2{PROJECT}/disaster-recovery/check-name",
        need("dws:disasterRecovery:list"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "ShowDisasterDetail",
        "GET",
        f"/v2{_RECOVERY}",
        need("dws:disasterRecovery:get"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "UpdateDisasterInfo",
        "PUT",
        f"/v2{_RECOVERY}",
        need("dws:disasterRecovery:update"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "DeleteDisasterRecovery",
        "DELETE",
        f"/v2{_RECOVERY}",
        need("dws:disasterRecovery:delete"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "StartDisasterRecovery", "POST", f"/v2{_RECOVERY}/start", OPERATE_RECOVERY, "not yet", _NO_RECOVERY
    ),
    Operation(
        "PauseDisasterRecovery", "POST", f"/v2{_RECOVERY}/pause", OPERATE_RECOVERY, "not yet", _NO_RECOVERY
    ),
    Operation(
        "SwitchoverDisasterRecovery",
        "POST",
        f"/v2{_RECOVERY}/switchover",
        OPERATE_RECOVERY,
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "SwitchFailoverDisaster",
        "POST",
        f"/v2{_RECOVERY}/failover",
        OPERATE_RECOVERY,
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "RestoreDisaster", "POST", f"/v2{_RECOVERY}/recovery", OPERATE_RECOVERY, "not yet", _NO_RECOVERY
    ),
    Operation(
        "ShowDisasterProgress",
        "GET",
        f"/v1{_RECOVERY}/show-progress",
        need("dws:disasterRecovery:get"),
        "not yet",
        _NO_RECOVERY,
    ),
    Operation(
        "ListEventSpecs",
        "GET",
        f"/v2{PROJECT}/event-specs",
        need("dws:eventSub:list"),
        "not yet",
        _NO_SUBSCRIPTIONS,
    ),
    Operation(
        "ListEventSubs",
        "GET",
        f"/v2{PROJECT}/event-subs",
        need("dws:eventSub:list"),
        "not yet",
        _NO_SUBSCRIPTIONS,
    ),
    Operation(
        "CreateEventSub",
        "POST",
        f"/v2{PROJECT}/event-subs",
        need("dws:eventSub:create"),
        "not yet",
        _NO_SUBSCRIPTIONS,
    ),
    Operation(
        "UpdateEventSub",
        "PUT",
        f"/v2{PROJECT}/event-subs/{{event_sub_id}}",
        need("dws:eventSub:update"),
        "not yet",
        _NO_SUBSCRIPTIONS,
    ),
    Operation(
        "DeleteEventSub",
        "DELETE",
        f"/v2{PROJECT}/event-subs/{{event_sub_id}}",
        need("dws:eventSub:delete"),
        "not yet",
        _NO_SUBSCRIPTIONS,
    ),
    Operation(
        "ListAlarmConfigs",
        "GET",
        f"/v2{PROJECT}/alarm-configs",
        need("dws:alarmSub:list"),
        "not yet",
        _NO_ALARMS,
    ),
    Operation(
        "ListAlarmDetail", "GET", f"/v2{PROJECT}/alarms", need("dws:alarmSub:list"), "not yet", _NO_ALARMS
    ),
    Operation(
        "ListAlarmStatistic",
        "GET",
        f"/v2{PROJECT}/alarm-statistic",
        need("dws:alarmSub:list"),
        "not yet",
        _NO_ALARMS,
    ),
    Operation(
        "ListAlarmSubs", "GET", f"/v2{PROJECT}/alarm-subs", need("dws:alarmSub:list"), "not yet", _NO_ALARMS
    ),
    Operation(
        "CreateAlarmSub",
        "POST",
        f"/v2{PROJECT}/alarm-subs",
        need("dws:alarmSub:create"),
        "not yet",
        _NO_ALARMS,
    ),
    Operation(
        "UpdateAlarmSub",
        "PUT",
        f"/v2{PROJECT}/alarm-subs/{{alarm_sub_id}}",
        need("dws:alarmSub:update"),
        "not yet",
        _NO_ALARMS,
    ),
    Operation(
        "DeleteAlarmSub",
        "DELETE",
        f"/v2{PROJECT}/alarm-subs/{{alarm_sub_id}}",
        need("dws:alarmSub:delete"),
        "not yet",
        _NO_ALARMS,
    ),
)
