# SPDX-License-Identifier: Apache-2.0
"""The hooks for ModelArts, by both methods of every operation, against the emulator over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    AuthenticationFailed,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    NotReached,
    PermissionDenied,
    Throttled,
)
from airflow_provider_ehpc.apis.huawei.modelarts import search_training_jobs
from airflow_provider_ehpc.apis.job import JobRef, JobSpec, JobState
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import ajob_hook, job_hook, tokens
from airflow_provider_ehpc.hooks.huawei import HuaweiHook, ModelArtsHook, ModelArtsV1Hook
from airflow_provider_ehpc.hooks.tokens import TokenCache
from tests.hooks.conftest import Endpoint, send_json

CONN_ID = "modelarts_test"
TOKEN_CALL = "KeystoneCreateUserTokenByPassword"
OPTIONS: dict[str, Any] = {
    "algorithm": {"engine": {"image_url": "team/image:1"}},
    "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u"}},
}

Ask = Callable[..., Any]
Connect = Callable[..., str]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Make a connection for one test; ``extra`` is merged, None takes a field out."""

    def make(connection: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None, **changes: Any) -> str:
        fields = {**connection, **changes, "extra": _told({**connection["extra"], **(extra or {})})}
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(_told(fields)))
        return CONN_ID

    return make


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> TokenCache:
    """No test finds another's tokens."""
    fresh = TokenCache()
    monkeypatch.setattr(tokens, "TOKENS", fresh)
    return fresh


@pytest.fixture
def hook(ehpc_emulator: Emulator, account: Connect) -> ModelArtsHook:
    return ModelArtsHook(account(ehpc_emulator.connections["huawei_modelarts"]))


@pytest.fixture
def user_hook(ehpc_emulator: Emulator, account: Connect) -> ModelArtsHook:
    """A hook that asks for tokens."""
    return ModelArtsHook(account(ehpc_emulator.iam_connection))


@pytest.fixture
def v1(hook: ModelArtsHook) -> ModelArtsV1Hook:
    return ModelArtsV1Hook(hook.conn_id)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Ask a hook for ``operation``, by its synchronous and by its asynchronous method."""

    def run(hook: HuaweiHook, operation: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            try:
                return getattr(hook, operation)(*args, **kwargs)
            finally:
                hook.close()

        async def arun() -> Any:
            try:
                return await getattr(hook, f"a{operation}")(*args, **kwargs)
            finally:
                await hook.aclose()

        return asyncio.run(arun())

    return run


def spec(name: str, command: str, **fields: Any) -> JobSpec:
    return JobSpec(name, command, options=OPTIONS, **fields)


def v1_ref(cloud: Emulator, v1: ModelArtsV1Hook, ref: JobRef) -> JobRef:
    """Return the address of a job in API v1."""
    row = next(row for row in v1.list_jobs().jobs if row.job_id == str(cloud.job(ref.job_id).number))
    return row.ref


# ---------------------------------------------------------------------- API v2


def test_a_job_is_submitted_watched_and_read(ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask) -> None:
    ref = ask(hook, "submit", spec("train-1", 'echo "$WHO"', environment={"WHO": "我 & you=?/"}))
    ehpc_emulator.wait_for(ref.job_id)

    status = ask(hook, "job_status", ref)
    assert (status.state, status.raw_state, status.name) == (JobState.SUCCEEDED, "Completed", "train-1")
    assert status.exit_code is None
    batch = ask(hook, "read_log", ref, hook_cursor(), 65536)
    assert [(chunk.stream, chunk.data.decode()) for chunk in batch.chunks] == [("worker-0", "我 & you=?/\n")]
    assert ehpc_emulator.requests.count("CreateTrainingJob") == 1


def test_a_failed_job_tells_exit_code_and_task(
    ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask
) -> None:
    """Of two nodes, a user has to learn which one failed, and how."""
    ref = ask(
        hook, "submit", spec("two-nodes", "echo node $VC_TASK_INDEX; exit $((VC_TASK_INDEX * 7))", nodes=2)
    )
    ehpc_emulator.wait_for(ref.job_id)

    status = ask(hook, "job_status", ref)

    assert (status.state, status.exit_code) == (JobState.FAILED, 7)
    assert "worker-1: exit code 7" in (status.reason or "")
    assert [(chunk.stream, chunk.data) for chunk in hook.log_tail(ref, 1000)] == [("worker-1", b"node 1\n")]
    batch = hook.read_log(ref, hook_cursor(), 65536)
    assert {chunk.stream: chunk.data for chunk in batch.chunks} == {
        "worker-0": b"node 0\n",
        "worker-1": b"node 1\n",
    }


def test_stopping_goes_through_cancelling_to_cancelled(
    ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask
) -> None:
    """A job that ignores SIGTERM is CANCELLING for a while, which is no end."""
    ref = hook.submit(spec("stubborn", "trap '' TERM; echo up; sleep 60 & wait; sleep 60"))
    ehpc_emulator.wait_for(ref.job_id, "RUNNING")

    ask(hook, "stop", ref)
    during = ask(hook, "job_status", ref).state
    ehpc_emulator.wait_for(ref.job_id)
    after = ask(hook, "job_status", ref).state

    assert during in (JobState.CANCELLING, JobState.CANCELLED)
    assert after is JobState.CANCELLED
    ask(hook, "stop", ref)  # over already: what was wanted is so


def test_many_jobs_cost_one_page(ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask) -> None:
    refs = [hook.submit(spec(f"many-{n}", "sleep 60")) for n in range(5)]
    ended = hook.submit(spec("ended", "exit 2"))
    for ref in refs:
        ehpc_emulator.wait_for(ref.job_id, "RUNNING")
    ehpc_emulator.wait_for(ended.job_id)
    ehpc_emulator.requests.clear()
    unknown = JobRef("3faf5c03-aaa1-4cbe-879d-0000000fffff")

    told = ask(hook, "job_statuses", [*refs, ended, unknown])

    assert [told[ref].state for ref in refs] == [JobState.RUNNING] * 5
    assert (told[ended].state, told[ended].exit_code, told[unknown]) == (JobState.FAILED, 2, None)
    assert ehpc_emulator.requests.count() == 3


def test_every_operation_of_v2(ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask) -> None:
    body = {
        "kind": "job",
        "metadata": {"name": "by-hand"},
        "algorithm": {"engine": {"image_url": "team/image:1"}, "command": "echo 一; echo 二; sleep 60"},
        "spec": {"resource": {"flavor_id": "f", "node_count": 1}},
    }
    job_id = ask(hook, "create_training_job", body).metadata.id
    ehpc_emulator.wait_for(job_id, "RUNNING")
    until(lambda: "二" in ask(hook, "show_log_preview", job_id, "worker-0").content)

    assert ask(hook, "show_training_job", job_id).status.phase == "Running"
    found = ask(hook, "search_training_jobs", name="by-h", phases=["Running"])
    assert (found.count, found.items[0].metadata.id) == (1, job_id)
    assert [task.task for task in ask(hook, "list_training_job_tasks", job_id).tasks] == ["worker-0"]
    now = datetime.now(UTC)
    events = ask(
        hook,
        "list_training_job_events",
        job_id,
        order="asc",
        pattern="started",
        since=now - timedelta(hours=1),
        until=now + timedelta(hours=1),
    )
    assert [event.message for event in events.events] == ["[worker-0] training started."]
    assert ask(hook, "show_log_lines", job_id, "worker-0", lines=1).content == "二\n"
    assert ask(hook, "terminate_training_job", job_id).status.phase == "Terminating"


def test_a_boot_file_is_run_with_its_parameters(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    file = ehpc_emulator.directory / "home" / "obs" / "bucket" / "code" / "train.py"
    file.parent.mkdir(parents=True)
    file.write_text("import sys; print(sys.argv[1:])")
    algorithm = {
        "code_dir": "obs://bucket/code/",
        "boot_file": "obs://bucket/code/train.py",
        "parameters": [{"name": "epochs", "value": "3"}],
    }
    body = {"kind": "job", "metadata": {"name": "boot"}, "algorithm": algorithm, "spec": OPTIONS["spec"]}
    job_id = hook.create_training_job(body).metadata.id
    ehpc_emulator.wait_for(job_id, "COMPLETED")

    assert hook.show_log_preview(job_id, "worker-0").content == "['--epochs=3']\n"


# ---------------------------------------------------------------------- API v1


def test_a_version_is_watched_and_read(
    ehpc_emulator: Emulator, hook: ModelArtsHook, v1: ModelArtsV1Hook, ask: Ask
) -> None:
    job = hook.submit(spec("old-way", "echo 一; echo two; exit 3"))
    ehpc_emulator.wait_for(job.job_id)
    ref = v1_ref(ehpc_emulator, v1, job)

    status = ask(v1, "job_status", ref)
    assert (status.state, status.raw_state) == (JobState.FAILED, "JOBSTAT_FAILED")
    assert ask(v1, "show_job_version", ref).job_name == "old-way"
    (file,) = ask(v1, "list_log_files", ref).log_file_list
    piece = ask(v1, "show_log_slice", ref, file, start_byte=-1, offset=4)
    assert (piece.log, piece.end_byte, piece.log_byte_count) == ("two\n", 8, 4)
    page = ask(v1, "show_log_lines", ref, file, lines=2)
    assert page.records() == ["一", "two"]
    older = ask(v1, "show_log_lines", ref, file, base_line=page.end_line, order="asc")
    assert older.records() == ["一"]
    (chunk,) = ask(v1, "read_log", ref, hook_cursor(), 65536).chunks
    assert chunk.data.decode() == "一\ntwo\n"


def test_a_version_is_stopped(
    ehpc_emulator: Emulator, hook: ModelArtsHook, v1: ModelArtsV1Hook, ask: Ask
) -> None:
    jobs = [hook.submit(spec(f"long-{n}", "sleep 60")) for n in range(2)]
    for job in jobs:
        ehpc_emulator.wait_for(job.job_id, "RUNNING")
    first, second = (v1_ref(ehpc_emulator, v1, job) for job in jobs)

    assert ask(v1, "stop_job_version", first).is_success
    ask(v1, "stop", second)

    for job, ref in zip(jobs, (first, second), strict=True):
        ehpc_emulator.wait_for(job.job_id)
        assert ask(v1, "job_status", ref).state is JobState.CANCELLED
    assert [row.status for row in ask(v1, "list_jobs", page_size=1).jobs] == [12]
    ask(v1, "stop", first)


def test_v1_says_what_it_cannot_do(v1: ModelArtsV1Hook) -> None:
    with pytest.raises(InvalidArgument, match="version_id"):
        v1.job_ref("10")
    with pytest.raises(InvalidArgument, match="submitting jobs; use api='modelarts'"):
        v1.submit(spec("no", "true"))


@pytest.mark.parametrize("drift", [False, True], ids=["with-a-status-of-its-own", "with-200"])
def test_an_unknown_version_is_not_found(ehpc_emulator: Emulator, v1: ModelArtsV1Hook, drift: bool) -> None:
    """Some of v1's errors come with 200 and is_success=false."""
    if drift:
        ehpc_emulator.fault("drift")
    with pytest.raises(NotFound, match="job 9 version 1009"):
        v1.job_status(JobRef("9", version_id="1009"))


# ---------------------------------------------------------------------- errors a user meets


def test_a_wrong_secret_is_asked_once_and_explained(
    ehpc_emulator: Emulator, account: Connect, ask: Ask
) -> None:
    """Five failures lock the key for everybody who uses it, so none is repeated."""
    hook = ModelArtsHook(account(ehpc_emulator.connections["huawei_modelarts"], password="wrong"))

    with pytest.raises(AuthenticationFailed, match="secret access key") as caught:
        ask(hook, "show_training_job", "x")

    assert ehpc_emulator.requests.count("ShowTrainingJobDetails") == 1
    text = str(caught.value)
    assert ehpc_emulator.accounts.first.access_key_id not in text
    assert "canonicalRequest" not in text


def test_a_locked_key_is_called_so(ehpc_emulator: Emulator, account: Connect) -> None:
    """After five failures even the right secret is refused for five minutes."""
    connection = ehpc_emulator.connections["huawei_modelarts"]
    wrong = ModelArtsHook(account(connection, password="wrong"))
    for _ in range(5):
        with pytest.raises(AuthenticationFailed):
            wrong.show_training_job("x")
    right = ModelArtsHook(account(connection))

    assert right.test_connection()[0] is False
    assert "locked for five minutes" in right.test_connection()[1]
    ehpc_emulator.fault("clock", seconds=301)
    assert right.test_connection()[0] is True


def test_a_wrong_clock_is_named(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    ehpc_emulator.fault("clock", seconds=3600)
    ok, message = hook.test_connection()
    assert not ok
    assert "60 minutes behind" in message


def test_a_temporary_key_needs_its_token(ehpc_emulator: Emulator, account: Connect, ask: Ask) -> None:
    temporary = ehpc_emulator.issue_token()
    connection = {
        **ehpc_emulator.connections["huawei_modelarts"],
        "login": temporary.access_key_id,
        "password": temporary.secret,
    }
    good = ModelArtsHook(account(connection, extra={"security_token": temporary.security_token}))
    assert ask(good, "search_training_jobs").total == 0

    without = ModelArtsHook(account(connection))
    with pytest.raises(AuthenticationFailed):
        ask(without, "search_training_jobs")


def test_a_right_that_is_missing_is_named(ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask) -> None:
    ehpc_emulator.deny("StopTrainingJob")
    with pytest.raises(PermissionDenied, match="StopTrainingJob"):
        ask(hook, "terminate_training_job", "x")


def test_another_regions_project_is_named(ehpc_emulator: Emulator, account: Connect) -> None:
    """The commonest mistake: every region has a project id of its own."""
    for connection in (ehpc_emulator.connections["huawei_modelarts"], ehpc_emulator.iam_connection):
        hook = ModelArtsHook(account(connection, extra={"project_id": "f" * 32}))
        ok, message = hook.test_connection()
        assert not ok
        assert "project" in message.lower()


def test_an_unknown_job_is_not_found(hook: ModelArtsHook, ask: Ask) -> None:
    """ModelArts answers 400 for it."""
    with pytest.raises(NotFound, match="not found"):
        ask(hook, "job_status", JobRef("3faf5c03-aaa1-4cbe-879d-000000000009"))


def test_a_name_can_be_used_once(hook: ModelArtsHook) -> None:
    hook.submit(spec("once", "true"))
    with pytest.raises(InvalidRequest, match="once"):
        hook.submit(spec("once", "true"))


def test_throttling_is_waited_out(ehpc_emulator: Emulator, hook: ModelArtsHook, ask: Ask) -> None:
    ehpc_emulator.fault("throttle", message="too many requests", times=2)
    assert ask(hook, "search_training_jobs").total == 0
    assert ehpc_emulator.requests.count("ListTrainingJobs", "APIG.0308") == 2


def test_a_long_throttling_is_told(ehpc_emulator: Emulator, hook: ModelArtsHook) -> None:
    ehpc_emulator.fault("throttle", message="policy ip over ratelimit,limit:600,time:1 hour")
    with pytest.raises(Throttled) as caught:
        hook.search_training_jobs()
    assert caught.value.retry_after == 3600


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"login": None}, "access key id"),
        ({"password": None}, "secret"),
        ({"extra": {"project_id": None}}, "project_id"),
        ({"host": None, "extra": {"region": None}}, "region"),
        ({"extra": {"iam_domain": "a", "security_token": "b"}}, "security_token"),
        ({"extra": {"iam_domain": "a", "region": None}}, "iam_endpoint"),
        ({"conn_type": "aliyun_ehpc"}, "huawei_modelarts"),
    ],
)
def test_a_connection_that_lacks_something_says_what(
    ehpc_emulator: Emulator, account: Connect, changes: dict[str, Any], named: str
) -> None:
    hook = ModelArtsHook(account(ehpc_emulator.connections["huawei_modelarts"], **changes))
    with pytest.raises(InvalidArgument, match=named):
        _ = hook.account


def test_a_region_is_enough_for_the_endpoints(ehpc_emulator: Emulator, account: Connect) -> None:
    extra = {"iam_domain": "a", "region": "ap-southeast-3"}
    hook = ModelArtsHook(account(ehpc_emulator.connections["huawei_modelarts"], host=None, extra=extra))
    told = hook.account
    assert told.base_url == "https://modelarts.ap-southeast-3.myhuaweicloud.com"
    assert isinstance(told, tokens.TokenAccount)
    assert isinstance(told.issuer, tokens.IamIssuer)
    assert told.issuer.account.base_url == "https://iam.ap-southeast-3.myhuaweicloud.com"


def test_the_hook_is_found_by_its_api_and_by_the_connection(hook: ModelArtsHook) -> None:
    assert isinstance(job_hook(hook.conn_id), ModelArtsHook)
    assert isinstance(job_hook(hook.conn_id, "modelarts-v1"), ModelArtsV1Hook)
    found = asyncio.run(ajob_hook(hook.conn_id))
    assert found.api.name == "modelarts"


# ---------------------------------------------------------------------- tokens


def test_one_token_serves_all_calls(ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask) -> None:
    """IAM throttles, and after a while locks, a user who asks for a token with every request."""
    for _ in range(3):
        assert ask(user_hook, "search_training_jobs").total == 0
    another = ModelArtsHook(user_hook.conn_id)
    assert ask(another, "search_training_jobs").total == 0

    assert ehpc_emulator.requests.count(TOKEN_CALL) == 1


def test_many_calls_at_once_ask_for_one_token(ehpc_emulator: Emulator, user_hook: ModelArtsHook) -> None:
    async def many() -> None:
        try:
            await asyncio.gather(*(user_hook.asearch_training_jobs() for _ in range(20)))
        finally:
            await user_hook.aclose()

    asyncio.run(many())
    assert ehpc_emulator.requests.count(TOKEN_CALL) == 1


def test_many_calls_at_once_try_a_wrong_password_once(ehpc_emulator: Emulator, account: Connect) -> None:
    """IAM locks a user after five wrong passwords."""
    hook = ModelArtsHook(account(ehpc_emulator.iam_connection, password="no, this one"))
    # While the connection is read, the first calls could end before the last ones begin.
    assert hook.account.project_id

    async def many() -> list[Any]:
        try:
            calls = [hook.asearch_training_jobs() for _ in range(20)]
            return await asyncio.gather(*calls, return_exceptions=True)
        finally:
            await hook.aclose()

    errors = asyncio.run(many())
    assert {type(error) for error in errors} == {AuthenticationFailed}
    assert len({str(error) for error in errors}) == 1
    assert len({id(error) for error in errors}) == 20
    assert ehpc_emulator.requests.count(TOKEN_CALL) == 1
    with pytest.raises(AuthenticationFailed):
        hook.search_training_jobs()
    assert ehpc_emulator.requests.count(TOKEN_CALL) == 2, "a later call tries again"


def test_a_token_is_replaced_before_it_runs_out(
    ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(user_hook, "search_training_jobs")
    later = datetime.now(UTC) + timedelta(hours=23, minutes=51)
    monkeypatch.setattr(tokens, "_now", lambda: later)

    ask(user_hook, "search_training_jobs")

    assert ehpc_emulator.requests.count(TOKEN_CALL) == 2
    assert ehpc_emulator.requests.count("ListTrainingJobs", "ok") == 2


def test_a_token_that_is_refused_is_replaced_once(
    ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask
) -> None:
    """A change of rights ends a token before its time."""
    ask(user_hook, "search_training_jobs")
    ehpc_emulator.fault("clock", seconds=25 * 3600)

    ask(user_hook, "search_training_jobs")

    assert ehpc_emulator.requests.count(TOKEN_CALL, "ok") == 2
    assert ehpc_emulator.requests.count("ListTrainingJobs", "APIG.0301") == 1


def test_a_new_token_that_is_refused_ends_it(
    ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask
) -> None:
    ehpc_emulator.fault("lifetime", seconds=-1)
    with pytest.raises(AuthenticationFailed, match="decrypt token fail"):
        ask(user_hook, "search_training_jobs")
    assert ehpc_emulator.requests.count(TOKEN_CALL) == 1


def test_a_wrong_password_is_tried_once(ehpc_emulator: Emulator, account: Connect, ask: Ask) -> None:
    """Each further try brings the user nearer to being locked."""
    hook = ModelArtsHook(account(ehpc_emulator.iam_connection, password="no, this one"))
    with pytest.raises(AuthenticationFailed, match="iam_domain") as caught:
        ask(hook, "search_training_jobs")
    assert "no, this one" not in str(caught.value)
    assert ehpc_emulator.requests.count(TOKEN_CALL) == 1


def test_a_submission_survives_a_fault_of_iam(
    ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask
) -> None:
    """While there is no token nothing was sent, so the submission is tried again and runs once."""
    ehpc_emulator.fault("error", operation=TOKEN_CALL, times=1)
    ehpc_emulator.fault("reset", operation=TOKEN_CALL, times=1)

    ref = ask(user_hook, "submit", spec("patient", "true"))

    ehpc_emulator.wait_for(ref.job_id)
    assert ehpc_emulator.requests.count("CreateTrainingJob") == 1


def test_iam_that_cannot_be_reached_is_named(
    ehpc_emulator: Emulator, account: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = ModelArtsHook(account(ehpc_emulator.iam_connection, extra={"iam_endpoint": "http://127.0.0.1:9"}))
    with pytest.raises(NotReached, match=r"127\.0\.0\.1:9"):
        hook._exchange(hook.account, search_training_jobs("p"))


def test_no_token_and_no_password_is_shown(
    ehpc_emulator: Emulator, user_hook: ModelArtsHook, ask: Ask, cache: TokenCache
) -> None:
    """A token is worth the password for a day, and some servers send back what they were sent."""
    ask(user_hook, "search_training_jobs")
    ((grant, _),) = cache._grants.values()
    (token,) = grant.confidential
    password = ehpc_emulator.accounts.first.secret
    message = f"bad token {token} of {password}"
    ehpc_emulator.fault("error", status=400, code="ModelArts.2788", message=message)

    with pytest.raises(InvalidRequest, match="bad token") as caught:
        ask(user_hook, "search_training_jobs")

    shown = repr((user_hook.account, user_hook.__dict__, cache.__dict__)) + str(caught.value)
    assert password not in shown
    assert token not in shown


# ---------------------------------------------------------------------- on the wire


def test_a_get_has_no_content_length(endpoint: Endpoint, account: Connect, ask: Ask) -> None:
    """The vendor's guide: it must be left blank for a GET; a POST without a body says 0."""
    connection = {**endpoint.connection, "conn_type": "huawei_modelarts", "extra": {"project_id": "p"}}
    hook = ModelArtsV1Hook(account(connection))
    endpoint.answer = lambda handler: send_json(handler, {"is_success": True})
    ref = JobRef("10", version_id="10")

    ask(hook, "show_job_version", ref)
    ask(hook, "stop_job_version", ref)

    get, post = endpoint.seen
    assert (get.method, get.headers.get("content-length")) == ("GET", None)
    assert (post.method, post.headers.get("content-length")) == ("POST", "0")


def hook_cursor() -> Any:
    from airflow_provider_ehpc.apis.job import LogCursor

    return LogCursor()


def until(true: Callable[[], bool]) -> None:
    """Wait for what comes about in a moment, or never."""
    from tests.gates import eventually

    eventually(true)


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
