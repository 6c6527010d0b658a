# SPDX-License-Identifier: Apache-2.0
"""Lists without an end and logs that are not what they should be: every loop ends, and says so."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis import listing
from airflow_provider_ehpc.apis.call import ApiError
from tests.faults.catalogue import APIS, FAULTS, HUAWEI, Api, Fault, Kind
from tests.faults.conftest import Cell, Make, Record
from tests.faults.server import Exchange, Request, Response
from tests.faults.tasks import LINES, RUN, Result, Setting, modes, run_event
from tests.faults.values import IDS, JOB_LISTS, TOTALS, changed

MOST_REQUESTS = 400
"""Requests that a task of some polls, each of which reads a list, may take at most."""
_fresh = itertools.count(5_000_000)


def _lists(shown: Any, rows: Callable[[list[Any]], list[Any]], total: Any) -> Any:
    """Change the list of a response, and the total beside it."""
    if not isinstance(shown, dict):
        return shown
    result = {}
    for name, old in shown.items():
        if name in JOB_LISTS and isinstance(old, list):
            result[name] = rows(old)
        else:
            result[name] = _lists(old, rows, total)
    if any(name in shown for name in TOTALS):
        result |= {name: total for name in TOTALS if name in shown}
    return result


def _invented(rows: list[Any]) -> list[Any]:
    """Fill a page with rows that nobody has seen before."""
    if not rows:
        return rows
    text = json.dumps(rows[-1])

    def row() -> Any:
        new = json.loads(text)
        for part in (new, new.get("JobSpec"), new.get("metadata")):
            for name in IDS if isinstance(part, dict) else ():
                if name in part:
                    number = next(_fresh)
                    part[name] = (
                        f"3faf5c03-aaa1-4cbe-879d-{number:012d}" if "-" in str(part[name]) else number
                    )
        return new

    return rows + [row() for _ in range(100 - len(rows))]


PAGES = {
    "endless_new_rows": lambda shown: _lists(shown, _invented, 10**9),
    "endless_without_total": lambda shown: _lists(shown, _invented, None),
    "same_rows_for_ever": lambda shown: _lists(shown, lambda rows: (rows * 100)[:100], 10**9),
    "total_too_large": lambda shown: _lists(shown, lambda rows: rows, 10**9),
    "total_negative": lambda shown: _lists(shown, lambda rows: rows, -1),
    "total_of_no_use": lambda shown: _lists(shown, lambda rows: rows, "²"),
}
"""What a list does, for ever."""


def _listing() -> list[Any]:
    cells = []
    for name, change in PAGES.items():
        fault = Fault(name, Kind.HARMLESS, lambda api, exchange, change=change: changed(change)(exchange))
        for api in APIS.values():
            cells += [
                pytest.param(cell := Cell(api, task, mode, fault, "lasting"), id=str(cell))
                for task in ("jobs", "event", "audit")
                for mode in modes(api, task)
            ]
    return cells


@pytest.mark.parametrize("cell", _listing())
def test_paging_ends(cell: Cell, make: Make, record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_PAGES", 30)
    setting = make(cell)
    setting.patience = 60.0
    setting.folder.mkdir()
    if cell.task == "audit":
        setting.arguments["request_limit"] = MOST_REQUESTS // 2
    if cell.task == "event":
        result = run_event(setting, True, lasts=0.2)
    else:
        result = RUN[cell.task](setting, cell.mode == "deferred")
    # The lists of E-HPC 2018-04-12 do not say how a job ended, so it describes each of the invented ones. An
    # event watcher polls until the test ends it.
    often = cell.api.name == "ehpc-classic" or cell.task == "event"
    most = (5 if often else 1) * MOST_REQUESTS
    assert len(setting.server.seen) < most
    if cell.task == "audit" and cell.fault.name not in ("total_negative", "total_of_no_use"):
        assert isinstance(result.error, ApiError), result.error or result.value
        assert result.written == []
        record(cell, "ended with the cause")
        return
    if cell.task == "audit":
        # A total that is none: the window is either read completely or not at all.
        assert isinstance(result.error, ApiError) or result.value
        record(cell, "unaffected" if result.value else "ended with the cause")
        return
    if result.error:
        raise result.error
    if cell.task == "event" and not result.value:
        assert [text for text in result.warnings if "does not end" in text] == result.warnings != []
        record(cell, "reported once, goes on")
        return
    ended = {job["job_id"]: job["state"] for job in result.value}
    refs = setting.refs[: 1 if cell.api.name == "modelarts-v1" else 4]
    assert {ref.job_id: ended.get(ref.job_id) for ref in refs} == {ref.job_id: "SUCCEEDED" for ref in refs}
    record(cell, "unaffected")


def _is_log(request: Request) -> bool:
    action = request.headers.get("x-acs-action", request.target.partition("?")[0])
    return action == "GetJobLog" or "/log" in action


LOG_FAULTS = (
    "html_200",
    "empty_object",
    "own_503",
    "reset",
    "truncated_json",
    "throttled_plain",
    "forbidden",
)


@pytest.mark.parametrize("duration", ["passing", "lasting"])
@pytest.mark.parametrize("name", LOG_FAULTS)
@pytest.mark.parametrize("mode", ["worker", "deferred"])
@pytest.mark.parametrize("api", [api for api in APIS.values() if api.log], ids=lambda api: api.name)
def test_a_log_that_cannot_be_read_never_ends_the_wait(
    api: Api,
    mode: str,
    name: str,
    duration: str,
    make: Make,
    record: Record,
) -> None:
    fault = next(fault for fault in FAULTS if fault.name == name)
    cell = Cell(api, "log", mode, fault, duration)
    result, setting = _follow(cell, make, fault.act, wants=_is_log)
    assert result.value["state"] == "SUCCEEDED"
    assert setting.server.struck
    assert any(re.search(fault.cause, warning) for warning in result.warnings), result.warnings
    if duration == "passing":
        assert result.lines == LINES
    else:
        assert result.lines == []
        # E-HPC 2018-04-12 does not report how a job ended.
        assert len([text for text in result.warnings if "counts as SUCCEEDED" not in text]) <= 2
    record(cell, "recovered" if duration == "passing" else "ended, without its log")


def _follow(
    cell: Cell,
    make: Make,
    act: Callable[[Api, Exchange], None],
    *,
    wants: Callable[[Request], bool] = lambda request: True,
    **arguments: Any,
) -> tuple[Result, Setting]:
    setting = make(dataclasses.replace(cell, fault=dataclasses.replace(cell.fault, act=act)))
    setting.server.wants = wants
    setting.arguments.update(arguments)
    begin = setting.strike

    def strike() -> None:
        begin()
        setting.server.skip = 0
        if cell.duration == "lasting":
            setting.cloud.end()

    setting.strike = strike
    result = RUN["log"](setting, cell.mode == "deferred")
    if result.error:
        raise result.error
    return result, setting


LOG_CELLS = pytest.mark.parametrize(
    "cell",
    [
        pytest.param(cell, id=f"{api.name}-{mode}")
        for api in APIS.values()
        for mode in modes(api, "log")
        for cell in [Cell(api, "log", mode, FAULTS[0], "lasting")]
    ],
)


@LOG_CELLS
def test_a_server_that_ignores_the_position_repeats_nothing_for_ever(cell: Cell, make: Make) -> None:
    """It sent 13,524 records for 40 lines, and all was well."""
    first: dict[str, Response] = {}

    def act(api: Api, exchange: Exchange) -> None:
        action = exchange.request.headers.get("x-acs-action", exchange.request.target.partition("?")[0])
        stream = re.search(r"LogType=\w+", exchange.request.target)
        key = action + (stream[0] if stream else "")
        response = exchange.upstream()
        if response.status == 200:
            response = first.setdefault(key, response)
        exchange.relay(response)

    result, setting = _follow(cell, make, act, wants=_is_log, timeout=2)
    assert result.value["state"] == "SUCCEEDED"
    assert result.lines[: len(LINES)] == LINES
    # API v1 reports no size of the whole log that could be compared.
    assert len(result.lines) <= (10 if cell.api.name == "modelarts-v1" else 3) * len(LINES)
    assert len(setting.server.seen) < MOST_REQUESTS


@LOG_CELLS
def test_a_log_without_an_end_ends_with_the_wait(cell: Cell, make: Make) -> None:
    """Something else goes on writing to the file after the job has ended."""

    def act(api: Api, exchange: Exchange) -> None:
        with setting_of[0].cloud.log.open("a") as file:
            file.write("something else writes on\n" * 50)
        exchange.relay(exchange.upstream())

    setting_of: list[Setting] = []

    def remember(cell: Cell) -> Setting:
        setting_of.append(make(cell))
        return setting_of[0]

    result, _ = _follow(cell, remember, act, wants=_is_log, timeout=1)
    assert result.value["state"] == "SUCCEEDED"
    assert result.lines == LINES


@pytest.mark.parametrize("name", ["../../evil", "/tmp/ehpc-faults-evil", "..", "a\0b", "a/b", "", "x" * 300])
@pytest.mark.parametrize("api", sorted(HUAWEI))
def test_no_name_of_a_stream_leaves_the_folder(api: str, name: str, make: Make, tmp_path: Path) -> None:
    def rename(shown: Any) -> Any:
        if "log_file_list" in shown:
            return {**shown, "log_file_list": [name]}
        if isinstance(shown.get("status"), dict):
            shown["status"]["tasks"] = [name]
        return shown

    def act(api: Api, exchange: Exchange) -> None:
        # Whatever the stream is called, there is a log of that name.
        if _is_log(exchange.request) and "file-names" not in exchange.request.target:
            exchange.respond(json.dumps(_LOGS[api.name]).encode())
        else:
            changed(rename)(exchange)

    folder = tmp_path / "deep" / "kept"
    cell = Cell(APIS[api], "log", "worker", FAULTS[0], "lasting")
    result, _ = _follow(cell, make, act, keep_log_at=f"file://{folder}", timeout=2)
    assert result.value["state"] == "SUCCEEDED"
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert outside + list(Path("/tmp").glob("ehpc-faults-evil*")) == []


_LOGS: dict[str, dict[str, Any]] = {
    "modelarts": {"content": "line 1\n", "start_line": "1", "end_line": "1", "lines": 1},
    "modelarts-v1": {"is_success": True, "log": "line 1\n", "end_byte": "7", "count": "7"},
}
