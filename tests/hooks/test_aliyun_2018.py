# SPDX-License-Identifier: Apache-2.0
"""The hooks for E-HPC 2018-04-12: every operation, by both of its methods, against the emulator over HTTP."""

from __future__ import annotations

import base64
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument, InvalidRequest, NotFound, NotSupported
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook
from airflow_provider_ehpc.hooks.aliyun import EhpcClassicHook, EhpcServerlessHook
from airflow_provider_ehpc.logs.follow import Emit, GetStatus, LogFollower, Pause
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from airflow_provider_ehpc.waiting.watch import JobWatch, Outcome
from tests.conftest import Ask, Connect
from tests.gates import eventually
from tests.live.test_logs import NOISY_JOB, expected
from tests.logs.cloud import status_of

_IMAGE = {"Container": {"Image": "busybox"}}


@pytest.fixture
def classic(conn_id: str) -> Iterator[EhpcClassicHook]:
    hook = EhpcClassicHook(conn_id)
    yield hook
    hook.close()


@pytest.fixture
def serverless(conn_id: str) -> Iterator[EhpcServerlessHook]:
    hook = EhpcServerlessHook(conn_id)
    yield hook
    hook.close()


def test_the_hooks_are_found_by_the_names_of_their_apis(conn_id: str) -> None:
    assert type(job_hook(conn_id, "ehpc-classic")) is EhpcClassicHook
    assert type(job_hook(conn_id, "ehpc-serverless")) is EhpcServerlessHook


def _running(cloud: Emulator, command: str, **spec: Any) -> JobRef:
    job_id = cloud.submit(command, **spec)
    cloud.wait_for(job_id, "RUNNING")
    return JobRef(job_id, cloud.cluster_id)


def _ended(cloud: Emulator, command: str, **spec: Any) -> JobRef:
    job_id = cloud.submit(command, **spec)
    cloud.wait_for(job_id)
    return JobRef(job_id, cloud.cluster_id)


class TestClassicOperations:
    def test_list_jobs(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        _ended(ehpc_emulator, "true")
        going = [_running(ehpc_emulator, "sleep 60", nodes=2).job_id for _ in range(3)]
        answer = ask(
            classic, "list_jobs", ehpc_emulator.cluster_id, state="notfinish", page_size=2, page_number=2
        )
        assert answer.total_count == 3
        assert [(job.id, job.state) for job in answer.jobs] == [(going[0], "RUNNING")]

    def test_describe_job(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        ref = _ended(ehpc_emulator, "exit 3")
        answer = ask(classic, "describe_job", ehpc_emulator.cluster_id, ref.job_id)
        assert answer.jobs[ref.job_id].exit_status == 3

    def test_get_job_log(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        ref = _running(ehpc_emulator, "echo 数据; echo bad >&2; sleep 60")
        log = ehpc_emulator.job(ref.job_id).stderr_path
        eventually(lambda: log.read_bytes() == b"bad\n")
        arguments = ("get_job_log", ehpc_emulator.cluster_id, ref.job_id)
        answer = ask(classic, *arguments, exec_host="compute000", offset=3, size=100)
        assert base64.b64decode(answer.output_log) == "数据\n".encode()[3:]
        assert base64.b64decode(answer.error_log) == b"\n"
        with pytest.raises(InvalidRequest, match="ExecHost"):
            ask(classic, *arguments)

    def test_submit_job(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        spec = JobSpec(
            "made.here",
            "echo $WHO",
            user="alice",
            password="p@ss/w+rd",
            cores=2,
            memory="1GB",
            wall_time=3661,
            environment={"WHO": "me & you=?/世"},
        )
        answer = ask(classic, "submit_job", ehpc_emulator.cluster_id, spec)
        job = ehpc_emulator.wait_for(answer.job_id)
        assert job.stdout_path.read_text() == "me & you=?/世\n"
        assert (job.spec.user, job.spec.nodes, job.spec.cores, job.spec.wall_time) == ("alice", 1, 2, 3661)
        assert ehpc_emulator.requests.count("SubmitJob") == 1

    def test_stop_jobs(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        job_ids = [_running(ehpc_emulator, "sleep 60").job_id for _ in range(2)]
        ask(classic, "stop_jobs", ehpc_emulator.cluster_id, job_ids)
        assert [ehpc_emulator.wait_for(job_id).phase for job_id in job_ids] == ["CANCELLED", "CANCELLED"]


class TestClassicStatus:
    def test_the_exit_code_says_how_a_finished_job_ended(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        """The version's list has no word for failure: a sensor that trusted it would let failures pass."""
        good = ask(classic, "job_status", _ended(ehpc_emulator, "true"))
        bad = ask(classic, "job_status", _ended(ehpc_emulator, "exit 3"))
        assert (good.state, good.exit_code, good.outcome_assumed) == (JobState.SUCCEEDED, 0, False)
        assert (bad.state, bad.exit_code) == (JobState.FAILED, 3)

    def test_a_stopped_job_is_cancelled(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        ref = _running(ehpc_emulator, "sleep 60")
        ask(classic, "stop", ref)
        ehpc_emulator.wait_for(ref.job_id)
        assert ask(classic, "job_status", ref).state is JobState.CANCELLED

    def test_a_running_job_tells_its_nodes(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        status = ask(classic, "job_status", _running(ehpc_emulator, "sleep 60", nodes=2, cores=3))
        assert (status.state, status.raw_state) == (JobState.RUNNING, "R")
        assert status.nodes == ("compute000", "compute001")

    def test_a_waiting_job_waits(self, connect: Connect, ask: Ask) -> None:
        with Emulator(slots=1) as cloud:
            _running(cloud, "sleep 60")
            ref = JobRef(cloud.submit("true"), cloud.cluster_id)
            hook = EhpcClassicHook(connect(cloud.connection))
            assert ask(hook, "job_status", ref).state is JobState.QUEUED
            # and has no log, which is no error
            batch = ask(hook, "read_log", ref, LogCursor(), 100)
        assert [chunk.data for chunk in batch.chunks] == [b"", b""]

    def test_many_jobs_at_once(self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask) -> None:
        refs = [
            *(_running(ehpc_emulator, "sleep 60") for _ in range(6)),
            _ended(ehpc_emulator, "exit 3"),
            JobRef("99.manager", ehpc_emulator.cluster_id),
        ]
        statuses = ask(classic, "job_statuses", refs)
        states = [statuses[ref] and statuses[ref].state for ref in refs]
        assert states == [JobState.RUNNING] * 6 + [JobState.FAILED, None]

    def test_an_unknown_job_is_not_found(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        with pytest.raises(NotFound, match=r"job 9\.manager"):
            ask(classic, "job_status", JobRef("9.manager", ehpc_emulator.cluster_id))

    @pytest.mark.parametrize(
        ("index", "state"), [("1", JobState.SUCCEEDED), ("2", JobState.FAILED), ("", JobState.FAILED)]
    )
    def test_an_array_and_its_sub_jobs(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask, index: str, state: JobState
    ) -> None:
        ref = _ended(ehpc_emulator, "exit $((PBS_ARRAY_INDEX == 2))", array="1-3:1")
        part = JobRef(ref.job_id.replace("[]", f"[{index}]"), ref.cluster_id)
        assert ask(classic, "job_status", part).state is state

    def test_slurm_reports_its_exit_code(self, connect: Connect, ask: Ask) -> None:
        with Emulator(spelling="slurm") as cloud:
            hook = EhpcClassicHook(connect(cloud.connection))
            status = ask(hook, "job_status", _ended(cloud, "exit 3"))
        assert (status.raw_state, status.state, status.exit_code) == ("FAILED", JobState.FAILED, 3)
        assert not status.outcome_assumed

    def test_answers_whose_forms_drift_are_read_alike(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        ref = _running(ehpc_emulator, "sleep 60")
        refs = [ref, *(_running(ehpc_emulator, "sleep 60") for _ in range(2))]
        plain, many = ask(classic, "job_status", ref), ask(classic, "job_statuses", refs)
        ehpc_emulator.fault("drift")
        assert [ask(classic, "job_status", ref) for _ in range(2)] == [plain, plain]
        assert [ask(classic, "job_statuses", refs) for _ in range(3)] == [many] * 3


class TestClassicLog:
    def test_a_running_jobs_node_is_found_by_itself(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
    ) -> None:
        """The user knows the job and not the node that GetJobLog asks for."""
        ref = _running(ehpc_emulator, "printf abcdef; printf xyz >&2; sleep 60")
        log = ehpc_emulator.job(ref.job_id).stderr_path
        eventually(lambda: log.read_bytes() == b"xyz")
        first = ask(classic, "read_log", ref, LogCursor(), 4)
        assert [(c.stream, c.data) for c in first.chunks] == [("stdout", b"abcd"), ("stderr", b"xyz")]
        assert first.more
        cursor = LogCursor({chunk.stream: chunk.next for chunk in first.chunks})
        second = ask(classic, "read_log", ref, cursor, 4)
        assert [c.data for c in second.chunks] == [b"ef", b""]
        assert [c.data for c in classic.log_tail(ref, 3)] == [b"def", b"xyz"]

    def test_the_tail_of_a_log_longer_than_a_window(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook
    ) -> None:
        ref = _ended(ehpc_emulator, "seq 1 200000; echo why >&2")
        stdout, stderr = classic.log_tail(ref, 14)
        assert (stdout.data, stderr.data) == (b"199999\n200000\n", b"why\n")

    def test_not_one_character_of_3_mb_of_noise_is_damaged(
        self, ehpc_emulator: Emulator, classic: EhpcClassicHook
    ) -> None:
        """Two streams grow unevenly under one window, cut within characters, while the job runs and after."""
        noisy = f"{sys.executable} {NOISY_JOB}"
        # What comes before the pause is read alone, so that the streams stand a byte apart from then on.
        before = "echo a; echo bb >&2; sleep 1"
        job_id = ehpc_emulator.submit(f"{before}; {noisy} 3000000 & {noisy} 1100000 >&2; wait")
        ref = JobRef(job_id, ehpc_emulator.cluster_id)
        watch = JobWatch(ref, WaitConditions(), time.time())
        follower = LogFollower(classic.api, ref, watch, clock=time.time, interval=0.2, settle=0.5)
        lines: dict[str, list[str]] = {"stdout": [], "stderr": []}

        def handle(step: Any) -> Any:
            if isinstance(step, GetStatus):
                return status_of(classic, ref)
            if isinstance(step, Emit):
                lines[step.stream] += step.lines
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
            return None

        verdict = classic.drive(follower.steps(), handle)

        job = ehpc_emulator.job(job_id)
        raw = {"stdout": job.stdout_path.read_bytes(), "stderr": job.stderr_path.read_bytes()}
        assert verdict.outcome is Outcome.REACHED
        assert len(raw["stdout"]) >= 3_000_000
        assert len(raw["stderr"]) >= 1_100_000
        assert lines["stdout"] == expected(raw["stdout"])
        assert lines["stderr"] == expected(raw["stderr"])
        assert follower.totals.bytes == sum(map(len, raw.values()))
        assert follower.totals.errors == 0


def test_the_common_surface_submits_and_stops_a_classic_job(
    ehpc_emulator: Emulator, classic: EhpcClassicHook, ask: Ask
) -> None:
    ref = ask(classic, "submit", JobSpec("made.here", "sleep 60", user="alice"))
    assert ref.cluster_id == ehpc_emulator.cluster_id
    ask(classic, "stop", ref)
    assert ehpc_emulator.wait_for(ref.job_id).phase == "CANCELLED"


# ---------------------------------------------------------------- serverless jobs


def _container_job(hook: EhpcServerlessHook, command: str, **spec: Any) -> JobRef:
    options = spec.pop("options", _IMAGE)
    return hook.submit(JobSpec(spec.pop("name", "job"), command, options=options, **spec))


def _done(cloud: Emulator, hook: EhpcServerlessHook, command: str, **spec: Any) -> JobRef:
    ref = _container_job(hook, command, **spec)
    cloud.wait_for(ref.job_id, serverless=True)
    return ref


class TestServerlessOperations:
    def test_submit_serverless_job(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        told = ehpc_emulator.directory / "told"
        spec = JobSpec(
            "made-here",
            f'echo "$WHO" >{told}',
            cores=2,
            memory="1GB",
            wall_time=600,
            priority=9,
            environment={"WHO": "me & you=?/世"},
            options=_IMAGE,
        )
        answer = ask(serverless, "submit_serverless_job", ehpc_emulator.cluster_id, spec)
        job = ehpc_emulator.wait_for(answer.job_id, "COMPLETED", serverless=True)
        assert told.read_text() == "me & you=?/世\n"
        assert (job.spec.cores, job.spec.memory, job.spec.wall_time) == (2, "1024mb", 600)
        assert ehpc_emulator.requests.count("SubmitServerlessJob") == 1

    def test_describe_serverless_jobs(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        ref = _done(ehpc_emulator, serverless, "exit 3")
        answer = ask(serverless, "describe_serverless_jobs", ehpc_emulator.cluster_id, [ref.job_id])
        (job,) = answer.job_infos
        assert (job.job_id, job.state, job.container_groups[0].status) == (ref.job_id, "Failed", "Failed")
        assert job.container_groups[0].containers[0].current_state.exit_code == 3

    def test_list_serverless_jobs(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        refs = [_done(ehpc_emulator, serverless, "true", name=f"job-{n}") for n in range(3)]
        answer = ask(
            serverless,
            "list_serverless_jobs",
            ehpc_emulator.cluster_id,
            job_names=["job-0", "job-2"],
            state="Succeeded",
            page_size=1,
            page_number=2,
        )
        assert (answer.total_count, [job.job_id for job in answer.jobs]) == (2, [refs[0].job_id])

    def test_stop_serverless_jobs(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        job_ids = [_container_job(serverless, "sleep 60").job_id for _ in range(2)]
        ask(serverless, "stop_serverless_jobs", ehpc_emulator.cluster_id, job_ids)
        phases = [ehpc_emulator.wait_for(job_id, serverless=True).phase for job_id in job_ids]
        assert phases == ["CANCELLED", "CANCELLED"]


class TestServerlessStatus:
    def test_the_containers_exit_code_is_the_jobs(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        good = ask(serverless, "job_status", _done(ehpc_emulator, serverless, "true"))
        bad = ask(serverless, "job_status", _done(ehpc_emulator, serverless, "exit 3"))
        assert (good.state, good.exit_code, good.reason) == (JobState.SUCCEEDED, 0, None)
        assert (bad.state, bad.exit_code, bad.reason) == (JobState.FAILED, 3, "Error")

    def test_an_attempt_that_was_tried_again_is_not_the_end(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        """A job that failed once and then succeeded must not be reported with its first exit code."""
        mark = ehpc_emulator.directory / "mark"
        options = {**_IMAGE, "RetryStrategy": {"Attempts": 1}}
        ref = _done(
            ehpc_emulator, serverless, f"test -e {mark} || {{ touch {mark}; exit 3; }}", options=options
        )
        status = ask(serverless, "job_status", ref)
        assert (status.state, status.exit_code) == (JobState.SUCCEEDED, 0)

    def test_a_stopped_job_is_cancelled(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        ref = _container_job(serverless, "sleep 60")
        eventually(lambda: serverless.job_status(ref).raw_state == "Running")
        ask(serverless, "stop", ref)
        ehpc_emulator.wait_for(ref.job_id, serverless=True)
        status = ask(serverless, "job_status", ref)
        assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)

    def test_an_array_is_told_with_its_sub_tasks(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        """DescribeServerlessJobs refuses an array's id; a user has no other."""
        ref = _done(ehpc_emulator, serverless, "exit $((EHPC_ARRAY_TASK_ID == 3))", array="1-5:2")
        status = ask(serverless, "job_status", ref)
        assert (status.state, dict(status.array)) == (JobState.FAILED, {"SUCCEEDED": 2, "FAILED": 1})
        part = ask(serverless, "job_status", JobRef(f"{ref.job_id}_3", ref.cluster_id))
        assert (part.state, part.exit_code) == (JobState.FAILED, 1)

    def test_many_jobs_at_once(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        """A hundred jobs are one request; only those that failed cost another, for their exit codes."""
        bad = _done(ehpc_emulator, serverless, "exit 3")
        going = [_container_job(serverless, "sleep 60") for _ in range(10)]
        missing = JobRef("99", ehpc_emulator.cluster_id)
        for ref in going:
            eventually(lambda ref=ref: serverless.job_status(ref).raw_state == "Running")
        ehpc_emulator.requests.clear()
        statuses = ask(serverless, "job_statuses", [bad, *going, missing])
        assert Counter(status and status.state for status in statuses.values()) == {
            JobState.FAILED: 1,
            JobState.RUNNING: 10,
            None: 1,
        }
        assert statuses[bad].exit_code == 3
        assert ehpc_emulator.requests.counts == {
            "ListServerlessJobs": {"ok": 1},
            "DescribeServerlessJobs": {"ok": 1},
        }

    def test_an_unknown_job_is_not_found(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        with pytest.raises(NotFound, match="job 99"):
            ask(serverless, "job_status", JobRef("99", ehpc_emulator.cluster_id))

    def test_a_job_that_runs_has_not_ended_whatever_else_is_told(
        self, ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
    ) -> None:
        """In the page's sample a running job has the times of both ends and an exit code of 0."""
        ref = _container_job(serverless, "sleep 60")
        eventually(lambda: serverless.job_status(ref).raw_state == "Running")
        plain = ask(serverless, "job_status", ref)
        assert (plain.state, plain.exit_code, plain.ended_at) == (JobState.RUNNING, None, None)
        ehpc_emulator.fault("drift")
        told = [ask(serverless, "job_status", ref) for _ in range(2)]
        for status in told:
            assert (status.state, status.exit_code, status.ended_at) == (JobState.RUNNING, None, None)
            assert (status.name, status.submitted_at) == (plain.name, plain.submitted_at)
            assert abs((status.modified_at - plain.modified_at).total_seconds()) < 1
        listed = [ask(serverless, "job_statuses", [ref])[ref] for _ in range(2)]
        assert [status.state for status in listed] == [JobState.RUNNING] * 2


def test_reading_a_log_is_refused_before_any_request(
    ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
) -> None:
    ref = JobRef("1", ehpc_emulator.cluster_id)
    with pytest.raises(NotSupported, match="log of a job; let the container write it"):
        ask(serverless, "read_log", ref, LogCursor(), 100)
    with pytest.raises(NotSupported, match="log of a job; let the container write it"):
        serverless.log_tail(ref, 100)
    assert ehpc_emulator.requests.count() == 0


def test_a_serverless_job_needs_an_image(
    ehpc_emulator: Emulator, serverless: EhpcServerlessHook, ask: Ask
) -> None:
    with pytest.raises(InvalidArgument, match="needs a container image"):
        ask(serverless, "submit", JobSpec("job", "true"))
    assert ehpc_emulator.requests.count() == 0
