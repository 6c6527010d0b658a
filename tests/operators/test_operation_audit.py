# SPDX-License-Identifier: Apache-2.0
"""The audit end to end, over HTTP, against a log that does its worst: all of a window, or a failure."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk import DAG, Asset

from airflow_provider_ehpc.apis.call import (
    ApiError,
    ForeignResponse,
    InvalidArgument,
    NotSupported,
    PermissionDenied,
)
from airflow_provider_ehpc.audit.window import REQUEST_LIMIT, WindowIncomplete
from airflow_provider_ehpc.emulator.operations import EmulatedOperation, EmulatedStatus
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.exceptions import JobFailed, OperationsForbidden, TaskKilled
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from tests.audit.ocsf_schema import check_event
from tests.conftest import Pauses

ROOT = Path(__file__).parents[2]
# Days that are over and still in the log, whenever the tests run.
MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
DAY = timedelta(days=1)
BEGIN = int(MIDNIGHT.timestamp())
BUSY = 160
RUNS = int(os.environ.get("AUDIT_RUNS", "4"))
"""Seeded runs of the long test; AUDIT_RUNS=200 takes about ten minutes."""

ALWAYS = 10 * REQUEST_LIMIT
"""Times that a fault strikes which outlasts any reading, however slow the machine."""

Audit = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def connections(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, connection in ehpc_emulator.connections.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{kind.upper()}_DEFAULT", json.dumps(connection))


@pytest.fixture(autouse=True)
def task_log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that the operator logs; what Airflow makes of them differs between its versions."""
    lines: list[str] = []

    class Log:
        def info(self, text: str, *arguments: object) -> None:
            lines.append(text % arguments)

        warning = info

    monkeypatch.setattr(OperationAuditOperator, "log", Log())
    return lines


def _operator(path: Path, **settings: Any) -> OperationAuditOperator:
    settings = {"start": MIDNIGHT, "end": MIDNIGHT + DAY, **settings}
    return OperationAuditOperator(task_id="audit", path=f"file://{path}", **settings)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    def run(**settings: Any) -> dict[str, Any]:
        return _operator(tmp_path / "audit", **settings).execute({})  # type: ignore[typeddict-item]

    return run


def _path(text: str) -> Path:
    return Path(text.removeprefix("file://"))


def _lines(reported: dict[str, Any], number: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _path(reported["files"][number]["path"]).read_text().splitlines()]


def _uids(reported: dict[str, Any]) -> list[str]:
    return [line["uid"] for line in _lines(reported)]


def _written(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "audit").glob("*"))


def _in_window(emulator: Emulator, cloud: str = "qingcloud") -> set[str]:
    """What an all-knowing reader would find."""
    return {row.id for row in emulator.operations(cloud) if BEGIN <= row.began_at < BEGIN + 86400}


def _fill(emulator: Emulator, chance: random.Random, count: int, busy: int = BUSY, **fields: Any) -> None:
    """Add operations of the day and its neighbours, many of them in one second and some on its edges."""
    seconds = [chance.randrange(-3600, 90_000) for _ in range(count - busy - 6)]
    seconds += [chance.randrange(86_400)] * busy + [-1, 0, 1, 86_399, 86_400, 86_401]
    statuses = [EmulatedStatus.SUCCESSFUL] * 8 + [EmulatedStatus.FAILED]
    emulator.add_operations(
        EmulatedOperation(
            BEGIN + second,
            chance.choice(["HpcQueueRemoveEhpcQueueNodes", "HpcClusterStartCluster"]),
            actor=chance.choice(["usr-a", "usr-b"]),
            resources=("ehpc-1", f"cln-{chance.randrange(9)}"),
            **{"status": chance.choice(statuses), **fields},
        )
        for second in seconds
    )


@pytest.mark.parametrize("seed", range(RUNS))
def test_ten_thousand_operations_are_all_written_once_or_none_is(
    seed: int, ehpc_emulator: Emulator, audit: Audit, tmp_path: Path
) -> None:
    """160 in one second, in ever new order, rows that change from page to page; and, run by run, rows that
    arrive while the log is paged, or that the log shows late."""
    chance = random.Random(seed)
    _fill(ehpc_emulator, chance, 9_900)
    _fill(ehpc_emulator, chance, 100, busy=0, status=EmulatedStatus.PENDING)
    ehpc_emulator.fault("ties")
    ehpc_emulator.fault("change", times=40, rows=2)
    late, soon = set(), 0.0
    if seed % 4 == 1:
        noon = time.time() - BEGIN - 43_200
        ehpc_emulator.fault(
            "arrival", times=chance.randrange(1, 60), rows=chance.randrange(1, 4), seconds=noon
        )
    elif seed % 4 == 2:
        soon = time.time() + chance.uniform(0, 2)
        late = set(
            ehpc_emulator.add_operations(
                EmulatedOperation(BEGIN + chance.randrange(86_400), "X", visible_at=soon) for _ in range(20)
            )
        )

    try:
        reported = audit()
    except WindowIncomplete:
        assert seed % 4 in (1, 2), "nothing came or went, and the window was not read"
        assert _written(tmp_path) == []
        return

    uids = _uids(reported)
    assert len(uids) == len(set(uids)) == reported["records"]
    # What the log shows only after the last request cannot be read: that is what settle is for.
    unseen = late if soon > ehpc_emulator.requests.recent[-1].at else set()
    assert set(uids) == _in_window(ehpc_emulator) - unseen
    assert sum(reported["by_status"].values()) == sum(reported["by_operator"].values()) == reported["records"]
    assert reported["requests"] == ehpc_emulator.requests.count("operation")
    # Where the log moves meanwhile, parts of it are read again.
    assert seed % 4 in (1, 2) or reported["requests"] < 250
    file = reported["files"][0]
    assert file["sha256"] == hashlib.sha256(_path(file["path"]).read_bytes()).hexdigest()


def test_the_same_holds_for_e_hpc(ehpc_emulator: Emulator, audit: Audit) -> None:
    """Its log has times without a zone, eight hours ahead."""
    _fill(ehpc_emulator, random.Random(0), 2_000, cloud="aliyun")
    ehpc_emulator.fault("ties")
    reported = audit(conn_id="aliyun_ehpc_default")
    assert {line["operation_id"] for line in _lines(reported)} == _in_window(ehpc_emulator, "aliyun")
    assert reported["scope"] == "aliyun-cn-hangzhou"
    assert min(line["time"] for line in _lines(reported)) == MIDNIGHT.isoformat()


@pytest.mark.parametrize("times", [1, 3, ALWAYS])
def test_rows_that_arrive_while_the_log_is_paged_are_written_or_the_task_fails(
    times: int, ehpc_emulator: Emulator, audit: Audit, tmp_path: Path
) -> None:
    _fill(ehpc_emulator, random.Random(times), 900)
    noon = time.time() - BEGIN - 43_200
    ehpc_emulator.fault("arrival", times=times, rows=2, seconds=noon)
    try:
        reported = audit()
    except WindowIncomplete:
        assert times > 1
        assert _written(tmp_path) == []
    else:
        assert times < ALWAYS
        assert set(_uids(reported)) == _in_window(ehpc_emulator)


@pytest.mark.parametrize("deferrable", [False, True])
def test_rows_that_come_late_are_waited_for(
    deferrable: bool, ehpc_emulator: Emulator, tmp_path: Path
) -> None:
    """The last minutes of a day appear after midnight; read at midnight they would be lost for good."""
    end = datetime.now(UTC)
    ehpc_emulator.add_operations(
        EmulatedOperation(end.timestamp() - n, "X", visible_at=end.timestamp() + 1.5) for n in range(1, 40)
    )
    operator = _operator(tmp_path, start=end - timedelta(hours=1), end=end, settle=2.5, deferrable=deferrable)
    # So short a wait is not worth a deferral, and dangerous besides (GH-71580).
    assert operator.execute({})["records"] == 39  # type: ignore[typeddict-item]


def test_a_longer_wait_holds_no_worker_slot(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    end = datetime.now(UTC) - timedelta(minutes=1)
    operator = _operator(tmp_path, start=end - DAY, end=end, deferrable=True)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute({})  # type: ignore[typeddict-item]
    trigger = deferral.value.trigger
    assert isinstance(trigger, DateTimeTrigger)
    assert trigger.moment == end + timedelta(minutes=5)
    assert deferral.value.method_name == "execute_complete"
    assert ehpc_emulator.requests.count() == 0


def test_after_the_wait_the_window_is_read(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    _fill(ehpc_emulator, random.Random(1), 50, busy=0)
    reported = _operator(tmp_path, deferrable=True).execute_complete({}, {"moment": "…"})  # type: ignore[typeddict-item]
    assert set(_uids(reported)) == _in_window(ehpc_emulator)


def test_a_killed_task_waits_no_longer(tmp_path: Path) -> None:
    end = datetime.now(UTC)
    operator = _operator(tmp_path, start=end - DAY, end=end)
    threading.Timer(0.2, operator.on_kill).start()
    with pytest.raises(TaskKilled):
        operator.execute({})  # type: ignore[typeddict-item]


def test_a_rerun_replaces_its_file(ehpc_emulator: Emulator, audit: Audit, tmp_path: Path) -> None:
    """A cleared task must not leave a day in the archive twice."""
    _fill(ehpc_emulator, random.Random(1), 300)
    first = audit()
    before = _written(tmp_path)
    _fill(ehpc_emulator, random.Random(2), 30, busy=0)
    second = audit()
    assert _written(tmp_path) == before
    assert second["records"] > first["records"]
    assert set(_uids(second)) == _in_window(ehpc_emulator)


@pytest.mark.parametrize("whole_files", [0, 1])
def test_killed_while_it_writes_there_is_the_old_file_or_the_new_one(
    whole_files: int, ehpc_emulator: Emulator, audit: Audit, tmp_path: Path
) -> None:
    """SIGKILL in the middle of the data, or of the manifest after it; a rerun mends either."""
    _fill(ehpc_emulator, random.Random(1), 300)
    old = audit()
    path = _path(old["files"][0]["path"])
    contents = {path.read_bytes()}
    manifest = _path(old["manifest"]).read_bytes()
    _fill(ehpc_emulator, random.Random(2), 300)
    program = textwrap.dedent(
        f"""
        import os, signal
        from airflow.sdk import ObjectStoragePath
        from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator

        whole, left = ObjectStoragePath.write_bytes, {whole_files}

        def dies(self, data):
            global left
            if left:
                left -= 1
                return whole(self, data)
            with self.open("wb") as file:
                file.write(data[: len(data) // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)

        ObjectStoragePath.write_bytes = dies
        OperationAuditOperator(
            task_id="audit",
            path="file://{tmp_path / "audit"}",
            start="{MIDNIGHT.isoformat()}",
            end="{(MIDNIGHT + DAY).isoformat()}",
        ).execute({{}})
        """
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    killed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert killed.returncode == -9, killed.stderr
    left = path.read_bytes()
    assert _path(old["manifest"]).read_bytes() == manifest
    new = audit()
    contents.add(path.read_bytes())
    assert left in contents
    assert (left == path.read_bytes()) == bool(whole_files)
    assert set(_uids(new)) == _in_window(ehpc_emulator)


def test_what_had_not_ended_is_completed_by_the_later_window(ehpc_emulator: Emulator, audit: Audit) -> None:
    """Else the archive would for ever say "pending" of what failed after midnight."""
    late, forever = ehpc_emulator.add_operations(
        [
            EmulatedOperation(BEGIN + 86_000, "HpcClusterStartCluster", status=EmulatedStatus.PENDING),
            EmulatedOperation(BEGIN + 86_001, "HpcClusterStopCluster", status=EmulatedStatus.PENDING),
        ]
    )
    first = audit()
    assert (first["records"], first["pending"]) == (2, 2)
    ehpc_emulator.fault("change", rows=1, word="failed")
    next_day = {"start": MIDNIGHT + DAY, "end": MIDNIGHT + 2 * DAY}
    rules = [{"name": "failures", "status": "failed", "effect": "warn"}]
    for _ in range(2):  # a rerun carries the same
        second = audit(**next_day, rules=rules)
        assert (second["records"], second["completed"], second["pending"]) == (0, 1, 1)
        assert [(line["uid"], line["status"]) for line in _lines(second)] == [(late, "FAILED")]
        assert second["violations"] == {"failures": 1}
    third = audit(start=MIDNIGHT + 2 * DAY, end=MIDNIGHT + 3 * DAY)
    manifest = json.loads(_path(third["manifest"]).read_text())
    assert [operation["uid"] for operation in manifest["pending_operations"]] == [forever]


def test_each_record_is_a_line_of_the_task_log(
    ehpc_emulator: Emulator, tmp_path: Path, task_log: list[str]
) -> None:
    row = EmulatedOperation(BEGIN, "HpcUserAddUser", actor="usr-a", resources=("ehpc-1",), error="21\n10")
    (uid,) = ehpc_emulator.add_operations([row])
    reported = _operator(tmp_path).execute({})  # type: ignore[typeddict-item]
    assert task_log[-2] == (
        f"{MIDNIGHT.isoformat()} successful HpcUserAddUser by usr-a on ehpc-1 ({uid}) error 21 10"
    )
    assert "wrote 1 operation of " in task_log[-1]
    assert task_log[-1].endswith(f"read with 1 request, to {reported['files'][0]['path']}")


RULES = [
    {"name": "removals", "action": "*Remove*", "operator": "usr-a"},
    {"name": "failures", "status": "failed", "effect": "warn"},
]


def test_a_failing_rule_fails_the_task_and_names_what_broke_it(
    ehpc_emulator: Emulator, audit: Audit, tmp_path: Path
) -> None:
    """Written down first: the evidence must not be missing because of what it says."""
    _fill(ehpc_emulator, random.Random(1), 300)
    with pytest.raises(OperationsForbidden) as forbidden:
        audit(rules=RULES)
    assert isinstance(forbidden.value, AirflowFailException)
    text = str(forbidden.value)
    assert text.count("rule 'removals'") == 20
    assert "usr-b: action is not allowed for this user" in text
    assert "failures" not in text
    (manifest,) = (path for path in (tmp_path / "audit").iterdir() if "manifest" in path.name)
    reported = json.loads(manifest.read_text())
    broken = reported["violations"]["removals"]
    assert f"{broken} operations of" in text
    assert f"and {broken - 20} more" in text
    assert reported["records"] == len(_in_window(ehpc_emulator))


def test_a_warning_rule_only_warns(ehpc_emulator: Emulator, audit: Audit) -> None:
    _fill(ehpc_emulator, random.Random(1), 300)
    reported = audit(rules=RULES[1:])
    assert reported["violations"] == {"failures": reported["by_status"]["FAILED"]}


@pytest.mark.parametrize(
    ("start", "end", "complaint"),
    [
        (MIDNIGHT, MIDNIGHT, "data intervals of no length"),
        (MIDNIGHT + DAY, MIDNIGHT, "ends before it begins"),
        (MIDNIGHT.replace(tzinfo=None), MIDNIGHT, "no time zone"),
        ("2026-03-01", "2026-03-02", "no time zone"),
        ("yesterday", "today", "expected ISO 8601"),
        ("", "", "no data interval"),
        (MIDNIGHT, MIDNIGHT + 99 * DAY, "ends in the future"),
        (MIDNIGHT - 40 * DAY, MIDNIGHT, "longer than 32 days"),
        (MIDNIGHT - 100 * DAY, MIDNIGHT - 99 * DAY, "begins more than 90 days ago"),
    ],
)
def test_a_window_that_cannot_have_been_meant_is_refused_before_any_request(
    start: datetime | str,
    end: datetime | str,
    complaint: str,
    ehpc_emulator: Emulator,
    audit: Audit,
    tmp_path: Path,
) -> None:
    """Read as it stands, each would give an empty or a broken archive and a green task."""
    with pytest.raises(InvalidArgument, match=complaint):
        audit(start=start, end=end)
    assert ehpc_emulator.requests.count() == 0
    assert _written(tmp_path) == []


def test_a_log_that_is_kept_for_longer_may_be_read(audit: Audit) -> None:
    start = MIDNIGHT - 100 * DAY
    assert audit(start=start, end=start + DAY, max_age=timedelta(days=365))["records"] == 0


def test_the_data_interval_is_the_window_where_none_is_given(tmp_path: Path) -> None:
    with DAG("d", schedule=None):
        operator = OperationAuditOperator(task_id="audit", path=f"file://{tmp_path}")
    operator.render_template_fields(
        {"data_interval_start": MIDNIGHT, "data_interval_end": MIDNIGHT + DAY}  # type: ignore[typeddict-item]
    )
    reported = operator.execute({})  # type: ignore[typeddict-item]
    assert reported["window"] == {"start": MIDNIGHT.isoformat(), "end": (MIDNIGHT + DAY).isoformat()}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_native_rendering_passes_the_data_interval_itself(
    zone: str, ehpc_emulator: Emulator, tmp_path: Path
) -> None:
    """The times are then pendulum's, which loses their zone: ``astimezone(UTC) + timedelta`` is naive."""
    with DAG("native", schedule=None, render_template_as_native_obj=True) as dag:
        audit = OperationAuditOperator(task_id="audit", path=f"file://{tmp_path}")
    begin = pendulum.instance(MIDNIGHT).in_timezone(zone)
    context = {"data_interval_start": begin, "data_interval_end": begin.add(days=1), "dag": dag}
    audit.render_template_fields(context, dag.get_template_env())  # type: ignore[arg-type]
    window = audit.execute({})["window"]  # type: ignore[typeddict-item]
    assert window == {"start": MIDNIGHT.isoformat(), "end": (MIDNIGHT + DAY).isoformat()}


def test_a_run_without_a_data_interval_says_so(tmp_path: Path) -> None:
    """A run that an asset triggered has none; Jinja would only call it undefined."""
    with DAG("d", schedule=None):
        operator = OperationAuditOperator(task_id="audit", path=f"file://{tmp_path}")
    operator.render_template_fields({})  # type: ignore[typeddict-item]
    with pytest.raises(InvalidArgument, match="the run has no data interval"):
        operator.execute({})  # type: ignore[typeddict-item]


def test_every_argument_that_varies_from_run_to_run_is_a_template(tmp_path: Path) -> None:
    with DAG("d", schedule=None):
        operator = _operator(
            Path("{{ ds }}"), conn_id="{{ c }}", cluster_id="{{ i }}", rules=[{"name": "{{ n }}"}]
        )
    operator.render_template_fields({"ds": "2026-03-01", "c": "conn", "i": "ehpc-1", "n": "no"})  # type: ignore[typeddict-unknown-key]
    assert (operator.path, operator.conn_id, operator.cluster_id) == ("file://2026-03-01", "conn", "ehpc-1")
    assert operator.rules == [{"name": "no"}]


def test_ocsf_events_are_written_beside(ehpc_emulator: Emulator, audit: Audit) -> None:
    _fill(ehpc_emulator, random.Random(1), 200, busy=0)
    reported = audit(formats=("jsonl", "ocsf"))
    plain, events = _lines(reported, 0), _lines(reported, 1)
    assert [event["metadata"]["original_event_uid"] for event in events] == [line["uid"] for line in plain]
    for event in events:
        check_event(event)
    assert [file["format"] for file in reported["files"]] == ["jsonl", "ocsf"]


@pytest.mark.parametrize("formats", [(), ("csv",), "csv", [["jsonl"]]])
def test_an_unknown_format_is_refused_while_the_dag_is_parsed(formats: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="jsonl or ocsf"):
        _operator(tmp_path, formats=formats)


def test_one_format_may_be_given_alone_and_none_is_written_twice(
    ehpc_emulator: Emulator, audit: Audit
) -> None:
    assert [file["format"] for file in audit(formats="ocsf")["files"]] == ["ocsf"]
    assert [file["format"] for file in audit(formats=["ocsf", "ocsf"])["files"]] == ["ocsf"]


def test_a_rule_that_cannot_be_read_is_refused_before_any_request(
    ehpc_emulator: Emulator, audit: Audit
) -> None:
    with pytest.raises(InvalidArgument, match="'actions'"):
        audit(rules=[{"name": "n", "actions": "*"}])
    assert ehpc_emulator.requests.count() == 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "html", "times": 5}, ForeignResponse),
        ({"kind": "error", "status": 200, "code": "1400"}, PermissionDenied),
    ],
)
def test_an_answer_that_cannot_be_used_fails_the_task_and_writes_nothing(
    fault: dict[str, Any],
    error: type[ApiError],
    ehpc_emulator: Emulator,
    audit: Audit,
    pauses: Pauses,
    tmp_path: Path,
) -> None:
    _fill(ehpc_emulator, random.Random(1), 300)
    ehpc_emulator.fault(fault.pop("kind"), operation="operation", **fault)
    with pytest.raises(error):
        audit()
    assert _written(tmp_path) == []


def test_a_budget_of_requests_is_kept(ehpc_emulator: Emulator, audit: Audit, tmp_path: Path) -> None:
    """An account has 2,000 an hour, for everything else too."""
    _fill(ehpc_emulator, random.Random(1), 2_000)
    ehpc_emulator.fault("ties")
    with pytest.raises(WindowIncomplete, match="incomplete after 10 requests"):
        audit(request_limit=10)
    assert ehpc_emulator.requests.count() == 10
    assert _written(tmp_path) == []


def test_a_cluster_can_be_audited_alone(ehpc_emulator: Emulator, audit: Audit, tmp_path: Path) -> None:
    """And the connection's default cluster does not narrow the audit of everything."""
    mine, _ = ehpc_emulator.add_operations(
        [
            EmulatedOperation(BEGIN, "X", resources=("ehpc-1",)),
            EmulatedOperation(BEGIN, "X", resources=("ehpc-2",)),
        ]
    )
    assert _uids(audit(cluster_id="ehpc-1")) == [mine]
    assert len(_uids(audit())) == 2
    assert len(_written(tmp_path)) == 4


def test_an_asset_gets_the_summary(ehpc_emulator: Emulator, tmp_path: Path) -> None:
    """A DAG that is scheduled on the archive can see what is in it."""
    from airflow.sdk.execution_time.context import OutletEventAccessors

    _fill(ehpc_emulator, random.Random(1), 50, busy=0)
    archive = Asset("archive", "file:///archive")
    events = OutletEventAccessors()
    reported = _operator(tmp_path, outlets=[archive]).execute({"outlet_events": events})  # type: ignore[typeddict-item]
    assert events[archive].extra == json.loads(json.dumps(reported))


def test_an_api_without_operations_is_refused_at_parse_time(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match=r"^api: .*'modelarts' does not support reading the log of op"):
        _operator(tmp_path, api="modelarts")


@pytest.mark.parametrize(("ends", "error"), [("successful", None), ("failed", JobFailed)])
def test_a_sensor_waits_for_an_operation(
    ends: str, error: type[Exception] | None, ehpc_emulator: Emulator
) -> None:
    """Starting a cluster takes minutes; the call only names the operation."""
    now = time.time()
    (operation_id,) = ehpc_emulator.add_operations(
        [EmulatedOperation(now, "HpcClusterStartCluster", status="pending", ends_at=now + 1.5, ends=ends)]  # type: ignore[arg-type]
    )
    sensor = JobStateSensor(
        task_id="wait",
        conn_id="qingcloud_hpc_default",
        api="qingcloud",
        job_id=operation_id,
        poke_interval=0.2,
        timeout=30,
    )
    if error is None:
        assert sensor.execute({})["raw_state"] == "successful"  # type: ignore[typeddict-item]
    else:
        with pytest.raises(error, match="failed"):
            sensor.execute({})  # type: ignore[typeddict-item]
    assert ehpc_emulator.requests.count("operation") > 1
