# SPDX-License-Identifier: Apache-2.0
"""The trigger of asset watchers, against the emulator over HTTP, over restarts of its triggerer."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.triggers.base import BaseEventTrigger

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.job import JobRef, JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.events import position_store, watch_loop
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.triggers.job_finished import BatchProducer, JobFinishedTrigger
from tests.conftest import Connect
from tests.gates import until
from tests.triggers.triggerer import Assets, Kept, SharedStreamManager, Triggerer

WAYS = pytest.mark.parametrize(
    "shared",
    [
        pytest.param(
            True,
            id="shared stream",
            marks=pytest.mark.skipif(SharedStreamManager is None, reason="Airflow 3.3 has shared streams"),
        ),
        pytest.param(False, id="run"),
    ],
)
SHARED = pytest.mark.skipif(SharedStreamManager is None, reason="Airflow 3.3 has shared streams")


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """What outlives a triggerer: variables, or the asset's state store."""
    kept = Kept()
    monkeypatch.setattr(position_store, "trigger_variables", lambda: kept)
    monkeypatch.setattr(position_store, "EVENT_SETTLE_TIME", 0.1)
    monkeypatch.setattr(position_store, "RETRY_AFTER", 0.05)
    monkeypatch.setattr(watch_loop, "GATHER", 0.02)
    monkeypatch.setattr(watch_loop, "SAVE_EVERY", 0.2)
    return kept


Watch = Callable[..., JobFinishedTrigger]


@pytest.fixture
def watch(conn_id: str) -> Watch:
    """Make a watcher that looks all the time."""

    def make(**arguments: Any) -> JobFinishedTrigger:
        trigger = JobFinishedTrigger(**{"conn_id": conn_id, "api": "ehpc", **arguments})
        trigger.poll_interval = 0.05
        return trigger

    return make


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["job_id"] for event in events]


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def watching(kept: Kept) -> None:
    """Wait until the first look is over and kept."""
    await until(lambda: kept.values)


@WAYS
def test_a_job_that_ends_is_reported_as_the_sensor_would(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        job_id = ehpc_emulator.submit("sleep 0.3; exit 3", name="train-1")
        await until(lambda: stored)
        await asyncio.sleep(0.4)
        await triggerer.kill()
        assert not triggerer.crashes
        (event,) = stored
        hook = job_hook("ehpc_test", "ehpc")
        status = hook.job_statuses([JobRef(job_id, ehpc_emulator.cluster_id)])
        hook.close()
        reported = next(iter(status.values()))
        assert reported
        for field in ("job_id", "cluster_id", "state", "raw_state", "name", "user", "queue", "stdout_path"):
            assert event[field] == reported.as_dict()[field]
        assert event["state"] == "FAILED"
        assert "may_be_repeated" not in event

    run(test)


@WAYS
def test_jobs_that_end_while_no_triggerer_runs_are_reported_afterwards(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """One ran when the triggerer was killed, one came and went meanwhile, one had been reported before."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        before = ehpc_emulator.submit("true")
        running = ehpc_emulator.submit("sleep 0.8")
        await until(lambda: before in ids(stored))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        missed = ehpc_emulator.submit("true")
        await asyncio.to_thread(ehpc_emulator.wait_for, missed)
        await asyncio.to_thread(ehpc_emulator.wait_for, running)
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await until(lambda: {missed, running} <= set(ids(stored)))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        assert sorted(ids(stored)) == sorted([before, running, missed])
        assert not [event for event in stored if "may_be_repeated" in event]

    run(test)


@WAYS
def test_an_event_that_was_not_stored_is_sent_by_the_next_triggerer(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """Killed with the event in the runner's memory. Noted as reported before, it would be lost."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        triggerer.stores = False
        job_id = ehpc_emulator.submit("true")
        await until(lambda: triggerer._queue)
        await triggerer.kill()
        assert not stored
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await until(lambda: stored)
        await asyncio.sleep(0.3)
        await triggerer.kill()
        assert ids(stored) == [job_id]
        # It cannot be known that the first was not stored.
        assert stored[0]["may_be_repeated"] is True

    run(test)


@WAYS
def test_an_event_that_comes_twice_says_so(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """Killed after Airflow stored the event and before that was noted: the one moment that is left."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        triggerer.confirms = False
        job_id = ehpc_emulator.submit("true")
        await until(lambda: stored)
        await triggerer.kill()
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await until(lambda: len(stored) == 2)
        other = ehpc_emulator.submit("true")
        await until(lambda: len(stored) == 3)
        await triggerer.kill()
        assert ids(stored) == [job_id, job_id, other]
        assert [event.get("may_be_repeated", False) for event in stored] == [False, True, False]

    run(test)


@WAYS
@pytest.mark.parametrize("moment", ["kept", "logged"])
def test_a_watcher_ended_before_its_event_is_queued_reports_it_the_next_time(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool, moment: str
) -> None:
    """Airflow's shared stream counts the turn as accepted by who leaves without an event."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        if moment == "kept":
            kept.silent = True
        else:
            triggerer.queues = False
        asked = kept.asked
        job_id = ehpc_emulator.submit("true")
        await until(lambda: kept.asked > asked if moment == "kept" else triggerer.logged)
        kept.silent = False
        await triggerer.kill()
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await until(lambda: stored)
        await triggerer.kill()
        assert ids(stored) == [job_id]

    run(test)


@WAYS
def test_what_was_reported_is_not_reported_again(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """Ten triggerers, each killed at another moment."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        jobs = []
        for number in range(8):
            triggerer = Triggerer(kept, stored, shared=shared)
            triggerer.start(watch())
            if not number:
                await watching(kept)
            jobs += [ehpc_emulator.submit("true"), ehpc_emulator.submit("sleep 0.2")]
            await asyncio.sleep(0.09 * number)
            await triggerer.kill()
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await until(lambda: set(jobs) <= set(ids(stored)))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        once = [event["job_id"] for event in stored if "may_be_repeated" not in event]
        assert len(once) == len(set(once)), "reported twice without a word"
        assert set(ids(stored)) == set(jobs)

    run(test)


@WAYS
def test_jobs_that_end_together_come_in_one_event(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """A second event within a second starts no run of its own, and the first one's run does not see it."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        trigger = watch()
        trigger.poll_interval = 2
        triggerer.start(trigger)
        await watching(kept)
        jobs = [ehpc_emulator.submit("true") for _ in range(3)]
        await until(lambda: stored)
        # Another watcher's first look is not theirs.
        more = [ehpc_emulator.submit("true") for _ in range(2)]
        for job_id in more:
            await asyncio.to_thread(ehpc_emulator.wait_for, job_id)
        other = watch(name="other")
        other.poll_interval = 2
        triggerer.start(other)
        await asyncio.sleep(0.3)
        assert sorted(ids(stored)) == sorted(jobs)
        assert triggerer.events == 1
        await until(lambda: len(stored) == 5)
        await triggerer.kill()
        assert triggerer.events == 2

    run(test)


@WAYS
def test_named_jobs_are_reported_once_each(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool
) -> None:
    """One of them had ended before the watch began: who names a job wants its end."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        past = ehpc_emulator.submit("true")
        await asyncio.to_thread(ehpc_emulator.wait_for, past)
        other = ehpc_emulator.submit("true")
        running = ehpc_emulator.submit("sleep 0.5")
        for _ in range(2):
            triggerer = Triggerer(kept, stored, shared=shared)
            triggerer.start(watch(job_id=[past, running, "99999.manager"]))
            await until(lambda: {past, running} <= set(ids(stored)))
            await asyncio.sleep(0.4)
            await triggerer.kill()
        assert sorted(ids(stored)) == sorted([past, running])
        assert other not in ids(stored)
        assert not triggerer.crashes

    run(test)


@WAYS
def test_filters(ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool) -> None:
    async def test() -> None:
        triggerer = Triggerer(kept, [], shared=shared)
        reported: dict[str, list[dict[str, Any]]] = {}
        filters: dict[str, dict[str, Any]] = {
            "name": {"name": "train-*"},
            "states": {"states": ["failed"]},
            "queue": {"queue": "gpu"},
            "user": {"user": "ann"},
        }
        for key, arguments in filters.items():
            reported[key] = []
            triggerer.start(watch(**arguments), stored=reported[key])
        await until(lambda: len(kept.values) == 4)
        jobs = {
            "name": ehpc_emulator.submit("true", name="train-7"),
            "states": ehpc_emulator.submit("exit 1"),
            "queue": ehpc_emulator.submit("true", queue="gpu"),
            "user": ehpc_emulator.submit("true", user="ann"),
        }
        await until(lambda: all(reported.values()))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        assert {key: ids(events) for key, events in reported.items()} == {k: [j] for k, j in jobs.items()}

    run(test)


@SHARED
def test_a_hundred_watchers_of_a_cluster_look_once(ehpc_emulator: Emulator, watch: Watch, kept: Kept) -> None:
    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=True)
        for number in range(100):
            triggerer.start(watch(name=f"job-{number}"))
        await until(lambda: len(kept.values) == 100)
        ehpc_emulator.requests.clear()
        writes = kept.writes
        looks = ehpc_emulator.requests.count
        await until(lambda: looks("ListJobs") >= 10)
        asked = looks()
        assert asked == looks("ListJobs"), "a quiet look asks for lists alone"
        jobs = [ehpc_emulator.submit("true", name=f"job-{number}") for number in (7, 77)]
        await until(lambda: len(stored) == 2)
        await triggerer.kill()
        assert sorted(ids(stored)) == sorted(jobs)
        assert asked < 40
        assert kept.writes - writes < 1000, "kept at every look"

    run(test)


def test_a_turn_is_not_noted_where_one_of_its_watchers_was_ended() -> None:
    """That one has not sent its events, and would find them noted when it begins again."""
    noted: list[str] = []

    def item(name: str, *, clean: bool) -> SimpleNamespace:
        async def note() -> None:
            noted.append(name)

        return SimpleNamespace(
            broker_payload=watch_loop.Batch({}, [note]), outcome=SimpleNamespace(is_clean=clean)
        )

    asyncio.run(BatchProducer({}).advance([item("one", clean=False), item("two", clean=True)]))
    assert noted == ["two"]


@SHARED
def test_a_watcher_that_comes_later_takes_part(ehpc_emulator: Emulator, watch: Watch, kept: Kept) -> None:
    """Its position is older than the others': what it missed is reported to it, and not to them again."""

    async def test() -> None:
        early: list[dict[str, Any]] = []
        late: list[dict[str, Any]] = []
        other = Kept()
        first = Triggerer(other, [], shared=True)
        first.start(watch(name="*"))
        await watching(other)
        await first.kill()
        triggerer = Triggerer(kept, early, shared=True)
        triggerer.start(watch())
        await watching(kept)
        job_id = ehpc_emulator.submit("true")
        await until(lambda: early)
        triggerer.start(watch(name="*"), other, late)
        await until(lambda: late)
        await asyncio.sleep(0.3)
        await triggerer.kill()
        assert ids(early) == ids(late) == [job_id]

    run(test)


@WAYS
def test_passing_faults_are_waited_out(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, shared: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """What a trigger raises, Airflow answers by starting it again each second."""
    caplog.set_level(logging.INFO, logger=watch_loop.__name__)

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        ehpc_emulator.fault("error", status=400, code="OperationDenied", operation="ListJobs", times=1)
        job_id = ehpc_emulator.submit("true")
        await until(lambda: stored)
        await triggerer.kill()
        assert ids(stored) == [job_id]
        assert not triggerer.crashes

    original = watch_loop._Faults.note
    pauses = []

    def note(self: Any, error: Exception, interval: float) -> float:
        pauses.append(original(self, error, interval))
        return 0.05

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch_loop._Faults, "note", note)
        run(test)
    assert pauses == [60.0], "what does not pass by itself is not asked about at every turn"
    lines = [record.getMessage() for record in caplog.records if record.name == watch_loop.__name__]
    assert "until this is fixed" in lines[0]
    assert "works again, after 1 failed polls" in lines[-1]


def test_a_fault_that_lasts_is_said_once(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    """Every look of every minute in the triggerer's log would hide all else."""
    faults = watch_loop._Faults("connection 'x'")
    for _ in range(5):
        assert faults.note(InvalidArgument("spoilt"), 5.0) >= 60
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 1


def test_a_refused_key_is_not_sent_again(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Huawei locks a key after some refusals. Another key in the connection ends the wait."""
    monkeypatch.setattr(watch_loop._Faults, "note", lambda self, error, interval: 0.05)
    connect(ehpc_emulator.connection, password="wrong")

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch())
        await until(lambda: ehpc_emulator.requests.count("ListJobs"))
        await asyncio.sleep(0.4)
        assert ehpc_emulator.requests.count("ListJobs") == 1
        connect(ehpc_emulator.connection)
        await watching(kept)
        job_id = ehpc_emulator.submit("true")
        await until(lambda: stored)
        await triggerer.kill()
        assert ids(stored) == [job_id]

    run(test)


@WAYS
@pytest.mark.parametrize("fault", ["silent", "broken"])
def test_nothing_is_sent_while_nothing_can_be_noted(
    ehpc_emulator: Emulator,
    watch: Watch,
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
    fault: str,
) -> None:
    """Sent without a note, it would come again after a crash, and not say so."""
    monkeypatch.setattr(position_store, "STORE_TIMEOUT", 0.1)

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=shared)
        triggerer.start(watch())
        await watching(kept)
        setattr(kept, fault, True)
        job_id = ehpc_emulator.submit("true")
        await asyncio.to_thread(ehpc_emulator.wait_for, job_id)
        await asyncio.sleep(0.4)
        assert not stored
        setattr(kept, fault, False)
        await until(lambda: stored)
        await triggerer.kill()
        assert ids(stored) == [job_id]

    run(test)


def test_a_watch_does_not_begin_anew_where_its_place_cannot_be_read(
    ehpc_emulator: Emulator, watch: Watch, kept: Kept
) -> None:
    """To begin anew would lose what ended meanwhile."""

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch())
        await watching(kept)
        await triggerer.kill()
        job_id = ehpc_emulator.submit("true")
        await asyncio.to_thread(ehpc_emulator.wait_for, job_id)
        kept.broken = True
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch())
        await asyncio.sleep(0.3)
        kept.broken = False
        await until(lambda: stored)
        await triggerer.kill()
        assert ids(stored) == [job_id]

    run(test)


@pytest.mark.parametrize("api", ["ehpc", "ehpc-classic", "ehpc-serverless", "modelarts", "qingcloud"])
def test_every_api_reports_the_ends_of_its_jobs(
    ehpc_emulator: Emulator, connect: Connect, watch: Watch, kept: Kept, api: str
) -> None:
    """Also of one that came and went while no triggerer ran."""
    kind = {"modelarts": "huawei_modelarts", "qingcloud": "qingcloud_hpc"}.get(api, "aliyun_ehpc")
    conn_id = connect(ehpc_emulator.connections[kind])
    hook = job_hook(conn_id, api)
    options: dict[str, Any] = {
        "ehpc-serverless": {"options": {"Container": {"Image": "busybox"}}},
        "ehpc-classic": {"user": "ann"},
        "qingcloud": {"user": "ann"},
        "modelarts": {
            "options": {
                "algorithm": {"engine": {"image_url": "team/image:1"}},
                "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u"}},
            }
        },
    }.get(api, {})

    def submit(name: str, command: str) -> str:
        return hook.submit(JobSpec(name=name, command=command, **options)).job_id

    def wait(job_id: str) -> None:
        ref = hook.job_ref(job_id)
        while not hook.job_status(ref).state.terminal:
            pass

    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch(api=api))
        await watching(kept)
        running = submit("running", "sleep 1")
        failed = submit("failed", "exit 3")
        await until(lambda: failed in ids(stored))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        missed = submit("missed", "exit 0")
        await asyncio.to_thread(wait, missed)
        await asyncio.to_thread(wait, running)
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch(api=api))
        await until(lambda: {missed, running} <= set(ids(stored)))
        await asyncio.sleep(0.3)
        await triggerer.kill()
        assert not triggerer.crashes
        assert sorted(ids(stored)) == sorted([running, failed, missed])
        by_id = {event["job_id"]: event for event in stored}
        assert by_id[failed] == hook.job_status(hook.job_ref(failed)).as_dict() or api == "ehpc"
        assert by_id[failed]["state"] == "FAILED"

    run(test)
    hook.close()


def test_an_array_ends_once_when_its_last_part_has(ehpc_emulator: Emulator, watch: Watch, kept: Kept) -> None:
    async def test() -> None:
        stored: list[dict[str, Any]] = []
        triggerer = Triggerer(kept, stored, shared=False)
        triggerer.start(watch())
        await watching(kept)
        job_id = ehpc_emulator.submit("sleep 0.$((PBS_ARRAY_INDEX * 3))", array="0-2:1")
        await until(lambda: stored)
        await asyncio.sleep(0.4)
        await triggerer.kill()
        (event,) = stored
        assert event["job_id"] == job_id
        assert event["array"] == {"SUCCEEDED": 3}

    run(test)


# Arguments


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"job_id": []}, "job_id"),
        ({"job_id": " "}, "job_id"),
        ({"job_id": ["1", 2]}, "job_id"),
        ({"job_id": "1", "name": "x"}, "name"),
        ({"job_id": "1", "queue": "x"}, "queue"),
        ({"job_id": "1", "user": "x"}, "user"),
        ({"name": ""}, "name"),
        ({"queue": 3}, "queue"),
        ({"states": []}, "states"),
        ({"states": ["RUNNING"]}, "states"),
        ({"states": ["DONE"]}, "states"),
        ({"states": [3]}, "states"),
        ({"api": "hpc"}, "api"),
        ({"api": "modelarts-v1"}, "job_id"),
        ({"version_id": "2"}, "version_id"),
        ({"job_id": ["1", "2"], "version_id": "2"}, "version_id"),
        ({"conn_id": ""}, "conn_id"),
        ({"cluster_id": ""}, "cluster_id"),
        ({"poll_interval": 4}, "poll_interval"),
        ({"poll_interval": "60"}, "poll_interval"),
        ({"poll_interval": True}, "poll_interval"),
    ],
)
def test_a_wrong_argument_is_refused_by_its_name(arguments: dict[str, Any], named: str) -> None:
    """In the DAG file, where it can be seen; in the triggerer nobody looks."""
    with pytest.raises(InvalidArgument, match=f"^{named}: "):
        JobFinishedTrigger(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"job_id": "1.manager"},
        {"job_id": ["1", "2"], "states": ["failed", "CANCELLED"]},
        {"name": "train-*", "queue": "q", "user": "u", "cluster_id": "c", "api": "ehpc", "poll_interval": 5},
        {"job_id": "1", "version_id": "2", "api": "modelarts-v1", "conn_id": "huawei"},
    ],
)
def test_a_watcher_survives_its_way_through_the_database(arguments: dict[str, Any]) -> None:
    """And stays the same watcher: Airflow knows it by a hash of its arguments."""
    trigger = JobFinishedTrigger(**arguments)
    path, kwargs = trigger.serialize()
    assert path == "airflow_provider_ehpc.triggers.job_finished.JobFinishedTrigger"
    rebuilt = JobFinishedTrigger(**json.loads(json.dumps(kwargs)))
    assert rebuilt.serialize() == trigger.serialize()
    assert rebuilt.identity == trigger.identity
    assert rebuilt.shared_stream_key() == trigger.shared_stream_key()
    assert BaseEventTrigger.hash(path, kwargs) == BaseEventTrigger.hash(*rebuilt.serialize())


def test_the_interval_makes_no_other_watcher() -> None:
    """To look more often must not lose what ended meanwhile."""
    assert JobFinishedTrigger().identity == JobFinishedTrigger(poll_interval=5).identity
    assert JobFinishedTrigger().identity != JobFinishedTrigger(name="x").identity


def test_several_assets_with_one_watcher_keep_one_position() -> None:
    """The newest counts: an asset that was added later has none."""

    async def test() -> None:
        old, new = Kept(), Kept()
        store = position_store.PositionStore("x", Assets(new, old), logging.getLogger("test"))
        await old.aset("ehpc_job_finished_x", {"since": 5.0, "open": ["1"], "seen": {}, "sent": []})
        position = await store.load()
        assert position.open == {"1"}
        await store.save(position)
        assert new.values == old.values

    run(test)
