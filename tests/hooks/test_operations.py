# SPDX-License-Identifier: Apache-2.0
"""Every operation of the hook, by both of its methods, against the emulator over HTTP."""

from __future__ import annotations

import asyncio
import base64
import gc

import pytest

from airflow_provider_ehpc.apis.call import InvalidArgument, NotFound
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState, LogCursor
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Ask


def test_get_job_tells_a_job(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("sleep 60", name="md")
    ehpc_emulator.wait_for(job_id, "RUNNING")
    answer = ask(hook, "get_job", ehpc_emulator.cluster_id, job_id)
    assert (answer.job_info.job_id, answer.job_info.job_name) == (job_id, "md")
    assert answer.job_info.state == "RUNNING"


def test_list_jobs_filters_and_pages(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    ended = ehpc_emulator.submit("true", name="short")
    ehpc_emulator.wait_for(ended)
    going = [ehpc_emulator.submit("sleep 60", name="long") for _ in range(3)]
    answer = ask(
        hook, "list_jobs", ehpc_emulator.cluster_id, job_status="notfinish", page_size=2, page_number=2
    )
    assert answer.total_count == 3
    assert [job.job_spec.id for job in answer.jobs] == [going[0]]


def test_get_job_log_gives_bytes(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("echo 数据; echo bad >&2")
    ehpc_emulator.wait_for(job_id)
    answer = ask(hook, "get_job_log", ehpc_emulator.cluster_id, job_id, log_type="stdout", offset=3, size=100)
    assert base64.b64decode(answer.stdout_log) == "数据\n".encode()[3:]
    assert answer.stderr_log == ""


def test_create_job_submits_once(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    spec = JobSpec("made", "echo $WHO", environment={"WHO": "me & you=?/"}, wall_time=60)
    answer = ask(hook, "create_job", ehpc_emulator.cluster_id, spec)
    job = ehpc_emulator.wait_for(answer.job_id)
    assert job.stdout_path.read_text() == "me & you=?/\n"
    assert ehpc_emulator.requests.count("CreateJob") == 1


def test_stop_jobs_ends_jobs(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_ids = [ehpc_emulator.submit("sleep 60") for _ in range(2)]
    ask(hook, "stop_jobs", ehpc_emulator.cluster_id, job_ids)
    assert [ehpc_emulator.wait_for(job_id).phase for job_id in job_ids] == ["CANCELLED", "CANCELLED"]


def test_job_status_is_the_common_view(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("sleep 60", name="md", cores=2)
    job = ehpc_emulator.wait_for(job_id, "RUNNING")
    status = ask(hook, "job_status", JobRef(job_id, ehpc_emulator.cluster_id))
    assert (status.state, status.raw_state, status.name) == (JobState.RUNNING, "RUNNING", "md")
    assert status.nodes == job.nodes
    assert status.resources["cores"] == "2"
    assert status.stdout_path == str(job.stdout_path)


@pytest.mark.parametrize("spelling", ["pbs", "slurm"])
def test_job_statuses_are_the_same_by_pages_and_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, connect, ask: Ask, spelling: str
) -> None:
    """A job that has ended, one that is unknown and one that runs are told apart whatever way is cheaper."""
    with Emulator(tmp_path_factory.mktemp("cloud"), spelling=spelling) as cloud:
        hook = EhpcHook(connect(cloud.connection))
        ended = cloud.submit("exit 3")
        cloud.wait_for(ended)
        running = [cloud.submit("sleep 60") for _ in range(3)]
        for job_id in running:
            cloud.wait_for(job_id, "RUNNING")
        refs = [JobRef(job_id, cloud.cluster_id) for job_id in [*running, ended, "99999"]]
        statuses = ask(hook, "job_statuses", refs)
        one_by_one = {ref: ask(hook, "job_statuses", [ref])[ref] for ref in refs}
    states = [statuses[ref] and statuses[ref].state for ref in refs]
    assert states == [JobState.RUNNING] * 3 + [JobState.FAILED, None]
    for ref in refs[:4]:
        # Only the names and times that the two operations give differently may differ.
        assert statuses[ref].as_dict().keys() >= {"state", "raw_state", "nodes"}
        assert statuses[ref].state is one_by_one[ref].state
        assert statuses[ref].raw_state == one_by_one[ref].raw_state


def test_many_running_jobs_cost_one_page(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    refs = [JobRef(ehpc_emulator.submit("sleep 60"), ehpc_emulator.cluster_id) for _ in range(12)]
    ehpc_emulator.requests.clear()
    assert len(ask(hook, "job_statuses", refs)) == 12
    assert ehpc_emulator.requests.counts == {"ListJobs": {"ok": 1}}


def test_job_statuses_of_an_unknown_cluster_are_an_error(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask
) -> None:
    """A wrong cluster must not look like jobs that do not exist."""
    with pytest.raises(NotFound, match="cluster_id, and that the connection's region"):
        ask(hook, "job_statuses", [JobRef("1.manager", "ehpc-hz-other")])


def test_read_log_goes_on_where_it_stopped(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("printf 'abcdef'; printf 'xyz' >&2")
    ehpc_emulator.wait_for(job_id)
    ref = JobRef(job_id, ehpc_emulator.cluster_id)
    first = ask(hook, "read_log", ref, LogCursor(), 4)
    assert [(c.stream, c.data) for c in first.chunks] == [("stdout", b"abcd"), ("stderr", b"xyz")]
    assert first.more
    cursor = LogCursor({chunk.stream: chunk.next for chunk in first.chunks})
    second = ask(hook, "read_log", ref, cursor, 4)
    assert [c.data for c in second.chunks] == [b"ef", b""]
    assert not second.more


def test_log_tail_is_the_end_of_each_stream(ehpc_emulator: Emulator, hook: EhpcHook) -> None:
    job_id = ehpc_emulator.submit("seq 1 1000; echo why >&2")
    ehpc_emulator.wait_for(job_id)
    stdout, stderr = hook.log_tail(JobRef(job_id, ehpc_emulator.cluster_id), 9)
    assert stdout.data == b"999\n1000\n"
    assert stderr.data == b"why\n"


def test_submit_takes_the_connections_cluster(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    ref = ask(hook, "submit", JobSpec("made", "true"))
    assert ref.cluster_id == ehpc_emulator.cluster_id
    assert ehpc_emulator.wait_for(ref.job_id).exit_code == 0


def test_stop(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("sleep 60")
    ask(hook, "stop", JobRef(job_id, ehpc_emulator.cluster_id))
    assert ehpc_emulator.wait_for(job_id).phase == "CANCELLED"


def test_answers_whose_types_drift_are_read_alike(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    """The documentation's samples disagree on types; a string for a number must not break a wait."""
    job_id = ehpc_emulator.submit("sleep 60", name="md", nodes=2)
    ehpc_emulator.wait_for(job_id, "RUNNING")
    ref = JobRef(job_id, ehpc_emulator.cluster_id)
    plain = ask(hook, "job_status", ref)
    ehpc_emulator.fault("drift")
    assert [ask(hook, "job_status", ref) for _ in range(2)] == [plain, plain]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "c", None), "job_id: must not be empty"),
        (("1", "c", "3"), "version_id: the API 'ehpc' has no job versions"),
        (("1", None, None), "cluster_id: the API 'ehpc' needs the cluster of job 1; pass cluster_id, or set"),
    ],
)
def test_what_the_api_needs_is_said_before_any_request(
    ehpc_emulator: Emulator, connect, arguments, message: str
) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, extra={"cluster_id": None}))
    with pytest.raises(InvalidArgument, match=message):
        hook.job_ref(*arguments)
    assert ehpc_emulator.requests.count() == 0


def test_the_connections_cluster_is_the_default(hook: EhpcHook, ehpc_emulator: Emulator) -> None:
    assert hook.job_ref(" 1.manager ") == JobRef("1.manager", ehpc_emulator.cluster_id)
    assert hook.job_ref("1.manager", "other").cluster_id == "other"


def test_stopping_no_job_is_refused(hook: EhpcHook, ehpc_emulator: Emulator) -> None:
    with pytest.raises(InvalidArgument, match="job_ids: name at least one job to stop"):
        hook.stop_jobs(ehpc_emulator.cluster_id, [])
    assert ehpc_emulator.requests.count() == 0


def test_requests_are_counted_by_operation(hook: EhpcHook, ehpc_emulator: Emulator) -> None:
    job_id = ehpc_emulator.submit("true")
    hook.get_job(ehpc_emulator.cluster_id, job_id)
    hook.list_jobs(ehpc_emulator.cluster_id)
    hook.list_jobs(ehpc_emulator.cluster_id)
    assert hook.requests == {"GetJob": 1, "ListJobs": 2}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_hook_survives_a_second_event_loop(hook: EhpcHook, ehpc_emulator: Emulator) -> None:
    """``dag.test()`` makes a new loop at every deferral: a session of the old one must not be used."""
    job_id = ehpc_emulator.submit("true")
    for _ in range(2):
        asyncio.run(hook.aget_job(ehpc_emulator.cluster_id, job_id))
        gc.collect()  # so that the old loop's session complains of not being closed here
    assert ehpc_emulator.requests.count("GetJob", "ok") == 2
    asyncio.run(hook.aclose())
    gc.collect()


def test_the_end_of_a_long_log_is_found_though_its_size_is_told_as_0(
    hook: EhpcHook, ehpc_emulator: Emulator
) -> None:
    """The page's own sample has a size of 0: a failure's "last lines" must not be the log's first ones."""
    job_id = ehpc_emulator.submit("seq 1 200000")
    ehpc_emulator.wait_for(job_id)
    ref = hook.job_ref(job_id)
    for lying in (False, True):
        if lying:
            ehpc_emulator.fault("log_size")
        out = hook.log_tail(ref, 4096)[0]
        assert out.data.endswith(b"199999\n200000\n")
        assert len(out.data) == 4096


def test_an_array_that_pbs_calls_finished_is_assumed_to_have_succeeded(
    hook: EhpcHook, ehpc_emulator: Emulator
) -> None:
    """finished_without_exit_code must hold for arrays as well: nobody has told how the sub-jobs ended."""
    job_id = ehpc_emulator.submit("true", array="1-3")
    ehpc_emulator.wait_for(job_id)
    status = hook.job_status(hook.job_ref(job_id))
    assert (status.state, status.outcome_assumed, status.array) == ("SUCCEEDED", True, {"SUCCEEDED": 3})
