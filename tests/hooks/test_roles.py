# SPDX-License-Identifier: Apache-2.0
"""Keys that nobody stores: RAM roles, ECS instance roles, OIDC, ECS agencies. Each comes over HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_credentials.utils import auth_util

from airflow_provider_ehpc.apis.aliyun import ehpc
from airflow_provider_ehpc.apis.call import AuthenticationFailed, InvalidArgument, InvalidRequest, NotReached
from airflow_provider_ehpc.apis.huawei import metadata
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import job_hook, roles, tokens
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.tokens import TokenCache
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger
from airflow_provider_ehpc.waiting.conditions import WaitConditions
from tests.conftest import Ask, Connect, Pauses, TaskLog
from tests.gates import Gate, eventually
from tests.hooks import key_sources
from tests.hooks.key_sources import PROVIDER, ROLE, ROLE_NAME, KeySource

NO_KEY: dict[str, Any] = {"login": None, "password": None}
LIFE = 2.0
"""Seconds that a key lives in the tests of expirations."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch) -> TokenCache:
    """No test finds another's keys, nor those of this machine."""
    fresh = TokenCache()
    monkeypatch.setattr(tokens, "TOKENS", fresh)
    roles._default_chain.cache_clear()
    for name in dir(auth_util):
        if name.startswith("environment_") and not name.endswith(("disabled", "enable_vpc")):
            monkeypatch.setattr(auth_util, name, None)
    return fresh


@pytest.fixture
def sts(ehpc_emulator: Emulator) -> Iterator[KeySource]:
    with key_sources.sts(ehpc_emulator) as source:
        yield source


@pytest.fixture
def ecs(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeySource]:
    with key_sources.aliyun_metadata(ehpc_emulator) as source:
        monkeypatch.setenv("HTTP_PROXY", source.url)
        # For the emulator itself.
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield source


@pytest.fixture
def agency(ehpc_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeySource]:
    with key_sources.huawei_metadata(ehpc_emulator) as source:
        monkeypatch.setattr(metadata, "ENDPOINT", source.url)
        yield source


Use = Callable[..., ApiHook]


@pytest.fixture
def use(ehpc_emulator: Emulator, connect: Connect) -> Use:
    """Make a connection without a key, or with one if ``login`` is given, and return its hook."""

    def make(credentials: str, *, key: bool = False, **extra: Any) -> ApiHook:
        agency = credentials == "ecs_agency"
        kind = "huawei_modelarts" if agency else "aliyun_ehpc"
        changes = {} if key else NO_KEY
        fields = {**changes, "extra": {"credentials": credentials, **extra}}
        conn_id = connect(ehpc_emulator.connections[kind], **fields)
        return ModelArtsHook(conn_id) if agency else EhpcHook(conn_id)

    return make


@pytest.fixture
def oidc(sts: KeySource, tmp_path: Path) -> dict[str, str]:
    """The fields of a connection with an OIDC token in a file."""
    file = tmp_path / "token"
    file.write_text(sts.tokens[0])
    return {
        "role_arn": ROLE,
        "oidc_provider_arn": PROVIDER,
        "oidc_token_file_path": str(file),
        "sts_endpoint": sts.url,
    }


def read(hook: ApiHook, ask: Ask) -> int:
    """Send one request; return how many jobs there are."""
    if isinstance(hook, ModelArtsHook):
        return int(ask(hook, "search_training_jobs").total)
    return int(ask(hook, "list_jobs", hook.account.cluster_id).total_count)


# ---------------------------------------------------------------------- each type


def test_an_assumed_role(sts: KeySource, use: Use, ask: Ask) -> None:
    hook = use("ram_role_arn", key=True, role_arn=ROLE, external_id="x", sts_endpoint=sts.url)
    assert [read(hook, ask) for _ in range(3)] == [0, 0, 0]
    assert sts.requests == [("GET", "AssumeRole")], "one key serves all requests"


def test_a_role_that_a_temporary_key_assumes(
    ehpc_emulator: Emulator, sts: KeySource, connect: Connect, ask: Ask
) -> None:
    connection = ehpc_emulator.connection_of(ehpc_emulator.issue_token())
    extra = {"credentials": "ram_role_arn", "role_arn": ROLE, "sts_endpoint": sts.url}
    assert read(EhpcHook(connect(connection, extra=extra)), ask) == 0


def test_a_role_that_the_ecs_assumes(sts: KeySource, ecs: KeySource, use: Use, ask: Ask) -> None:
    """Across accounts, and still without a stored key."""
    ecs.peer = sts
    hook = use("ram_role_arn", role_arn=ROLE, sts_endpoint=sts.url)
    assert read(hook, ask) == 0
    assert (len(ecs.issued), sts.requests) == (1, [("GET", "AssumeRole")])


def test_an_oidc_token(sts: KeySource, oidc: dict[str, str], use: Use, ask: Ask) -> None:
    assert read(use("oidc_role_arn", **oidc), ask) == 0
    assert sts.requests == [("GET", "AssumeRoleWithOIDC")]


@pytest.mark.parametrize("name", [ROLE_NAME, None])
def test_an_instance_role(ecs: KeySource, use: Use, ask: Ask, name: str | None) -> None:
    assert read(use("ecs_ram_role", role_name=name), ask) == 0
    assert ecs.requests[0] == ("PUT", "/latest/api/token"), "in security hardening mode (IMDSv2)"
    assert ecs.requests[-1] == ("GET", f"/latest/meta-data/ram/security-credentials/{ROLE_NAME}")


def test_the_default_chain(
    ehpc_emulator: Emulator, use: Use, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ehpc_emulator.issue_token()
    monkeypatch.setattr(auth_util, "environment_access_key_id", key.access_key_id)
    monkeypatch.setattr(auth_util, "environment_access_key_secret", key.secret)
    monkeypatch.setattr(auth_util, "environment_security_token", key.security_token)
    assert read(use("default"), ask) == 0


def test_an_agency(agency: KeySource, use: Use, ask: Ask) -> None:
    hook = use("ecs_agency")
    assert [read(hook, ask) for _ in range(2)] == [0, 0]
    assert agency.requests == [
        ("PUT", "/meta-data/latest/api/token"),
        ("GET", "/openstack/latest/securitykey"),
    ]


def test_a_connection_of_the_official_type(
    ehpc_emulator: Emulator, sts: KeySource, connect: Connect, ask: Ask
) -> None:
    own = ehpc_emulator.connection
    extra = {"access_key_id": own["login"], "access_key_secret": own["password"], "region": "cn-hangzhou"}
    extra |= {"credentials": "ram_role_arn", "role_arn": ROLE, "sts_endpoint": sts.url}
    conn_id = connect({"conn_type": "alibaba_cloud", "host": ehpc_emulator.url, "extra": extra})
    assert ask(EhpcHook(conn_id), "list_jobs", ehpc_emulator.cluster_id).total_count == 0


# ---------------------------------------------------------------------- expirations


def role(use: Use, sts: KeySource) -> ApiHook:
    return use("ram_role_arn", key=True, role_arn=ROLE, sts_endpoint=sts.url)


def expired(sts: KeySource) -> int:
    return sum(1 for key in sts.issued if key.expires_at and key.expires_at < time.time())


@pytest.fixture
def long_job(ehpc_emulator: Emulator, sts: KeySource, gate: Gate) -> str:
    """A job that runs until three keys have expired, which takes some five seconds."""
    sts.lives = [LIFE]

    def end() -> None:
        eventually(lambda: expired(sts) >= 3)
        gate.open()

    threading.Thread(target=end, daemon=True).start()
    return ehpc_emulator.submit(gate.wait)


def refused(cloud: Emulator) -> int:
    return cloud.requests.count() - cloud.requests.count(outcome="ok")


def test_a_wait_on_the_worker_over_three_expirations(
    ehpc_emulator: Emulator, sts: KeySource, use: Use, long_job: str, task_log: TaskLog
) -> None:
    """Two hours with keys of 40 minutes, in fast motion: no key is refused, no line is in the log."""
    hook = role(use, sts)
    JobStateSensor(task_id="wait", conn_id=hook.conn_id, job_id=long_job, poke_interval=0.2).execute({})
    assert expired(sts) >= 3
    assert [line for line in task_log.warnings if "counts as" not in line] == []
    assert refused(ehpc_emulator) < 3, "keys are used until they are refused"


async def test_a_deferred_wait_over_three_expirations(
    ehpc_emulator: Emulator,
    sts: KeySource,
    use: Use,
    long_job: str,
    task_log: TaskLog,
    quick_triggers: None,
) -> None:
    """Fifty tasks share each key. Getting one does not block the event loop, though STS takes its time."""
    sts.delay = 0.5
    hook = role(use, sts)
    job = {"job_id": long_job, "cluster_id": ehpc_emulator.cluster_id}
    arguments: dict[str, Any] = {
        "conn_id": hook.conn_id,
        "api": "ehpc",
        "jobs": [job],
        "started": time.time(),
        "poll_interval": 0.2,
        "terms": WaitConditions(deadline=time.time() + 60).as_dict(),
    }
    triggers = [JobStateTrigger(**arguments) for _ in range(50)]

    async def fire(trigger: JobStateTrigger) -> dict[str, Any]:
        (event,) = [event async for event in trigger.run()]
        await trigger.cleanup()
        return json.loads(json.dumps(event.payload))

    stalls = []

    async def watchdog() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            stalls.append(time.monotonic() - began)

    watching = asyncio.create_task(watchdog())
    events = await asyncio.gather(*map(fire, triggers))
    watching.cancel()
    assert expired(sts) >= 3
    assert len(sts.issued) <= 8, "the tasks do not share the keys"
    assert {event["outcome"] for event in events} == {"reached"}
    assert [line for line in task_log.warnings if "counts as" not in line] == []
    assert refused(ehpc_emulator) < 3, "keys are used until they are refused"
    assert sorted(stalls)[-4] < sts.delay, "the event loop waited for STS"


@pytest.mark.parametrize("kind", ["ecs_ram_role", "ecs_agency", "oidc_role_arn"])
def test_other_keys_are_replaced_before_they_expire(request: Any, use: Use, kind: str) -> None:
    extra: dict[str, str] = {}
    if kind == "oidc_role_arn":
        extra = request.getfixturevalue("oidc")
        source = request.getfixturevalue("sts")
    else:
        source = request.getfixturevalue("ecs" if kind == "ecs_ram_role" else "agency")
    # Longer than a busy machine may pause between the issue of a key and its use.
    source.lives = [3 * LIFE]
    hook = use(kind, **extra)

    def replaced() -> bool:
        assert read(hook, lambda hook, name, *args: getattr(hook, name)(*args)) == 0
        return len(source.issued) >= 2

    eventually(replaced, every=0.1)
    hook.close()


def test_a_key_that_is_refused_early_is_replaced(
    ehpc_emulator: Emulator, sts: KeySource, use: Use, ask: Ask
) -> None:
    """A role's permissions were changed, or a server's clock is ahead: STS said an hour."""
    hook = role(use, sts)
    assert read(hook, ask) == 0
    ehpc_emulator.fault("error", status=400, code="InvalidSecurityToken.Expired", message="expired")
    assert read(hook, ask) == 0
    assert len(sts.issued) == 2


def test_a_key_is_used_while_its_source_has_a_fault(
    sts: KeySource, use: Use, cache: TokenCache, pauses: Pauses
) -> None:
    """A key that must be replaced in ten minutes is no reason to fail now."""
    sts.lives = [3600.0]
    hook = role(use, sts)
    ask = lambda hook, name, *args: getattr(hook, name)(*args)  # noqa: E731
    assert read(hook, ask) == 0
    issuer, (grant, _) = next(iter(cache._grants.items()))
    cache._grants[issuer] = grant, tokens._now()
    sts.failure = (503, {"RequestId": "R", "Code": "ServiceUnavailable", "Message": "busy"})
    assert [read(hook, ask) for _ in range(3)] == [0, 0, 0]
    assert cache.get(issuer) == grant, "STS is not called for every request"
    cache.forget(issuer, grant)
    with pytest.raises(NotReached, match="busy"):
        read(hook, ask)
    hook.close()


@pytest.mark.parametrize("kind", ["ecs_ram_role", "ecs_agency"])
def test_metadata_that_is_gone_for_a_while(
    request: Any, use: Use, ask: Ask, cache: TokenCache, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The first time it is the wrong machine. After weeks, it is a fault that passes."""
    request.getfixturevalue("ecs" if kind == "ecs_ram_role" else "agency")
    hook = use(kind)
    assert read(hook, ask) == 0
    ((issuer, (grant, _)),) = cache._grants.items()
    cache._grants[issuer] = grant, tokens._now()
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(metadata, "ENDPOINT", "http://127.0.0.1:9")
    assert read(hook, ask) == 0
    cache._grants[issuer] = dataclasses.replace(grant, expires_at=tokens._now()), tokens._now()
    with pytest.raises(NotReached):
        hook._exchange(hook.account, ehpc.list_clusters(page_size=1))


# ---------------------------------------------------------------------- what a user reads


def test_a_role_that_does_not_exist(sts: KeySource, use: Use, ask: Ask) -> None:
    hook = use("ram_role_arn", key=True, role_arn=f"{ROLE}-typo", sts_endpoint=sts.url)
    with pytest.raises(AuthenticationFailed, match="Check the connection's role_arn") as caught:
        read(hook, ask)
    text = str(caught.value)
    assert text.startswith("credentials 'ram_role_arn' (connection 'ehpc_test'): The role not exists")
    assert "EntityNotExist.Role, HTTP 404, request id R-STS" in text
    assert sts.requests == [("GET", "AssumeRole")], "it is not tried again"


def test_a_source_key_that_has_expired(
    ehpc_emulator: Emulator, sts: KeySource, connect: Connect, ask: Ask
) -> None:
    connection = ehpc_emulator.connection_of(ehpc_emulator.issue_token(seconds=-1))
    extra = {"credentials": "ram_role_arn", "role_arn": ROLE, "sts_endpoint": sts.url}
    with pytest.raises(AuthenticationFailed, match="The connection's security token has expired"):
        read(EhpcHook(connect(connection, extra=extra)), ask)


@pytest.mark.parametrize(("field", "named"), [("login", "the access key id"), ("password", "secret")])
def test_a_wrong_source_key(
    ehpc_emulator: Emulator, sts: KeySource, connect: Connect, ask: Ask, field: str, named: str
) -> None:
    extra = {"credentials": "ram_role_arn", "role_arn": ROLE, "sts_endpoint": sts.url}
    conn_id = connect(ehpc_emulator.connection, extra=extra, **{field: "WrongWrong"})
    with pytest.raises(AuthenticationFailed, match=named) as caught:
        read(EhpcHook(conn_id), ask)
    assert "WrongWrong" not in str(caught.value)


def test_an_oidc_token_that_has_expired(sts: KeySource, oidc: dict[str, str], use: Use, ask: Ask) -> None:
    Path(oidc["oidc_token_file_path"]).write_text("another")
    with pytest.raises(AuthenticationFailed, match="The token in oidc_token_file_path has expired"):
        read(use("oidc_role_arn", **oidc), ask)


def test_an_oidc_token_that_is_missing(sts: KeySource, oidc: dict[str, str], use: Use, ask: Ask) -> None:
    oidc["oidc_token_file_path"] = "/nowhere/token"
    with pytest.raises(AuthenticationFailed, match=r"No such file.*oidc_token_file_path: '/nowhere/token'"):
        read(use("oidc_role_arn", **oidc), ask)


def test_an_instance_without_the_role(ecs: KeySource, use: Use, ask: Ask) -> None:
    with pytest.raises(
        AuthenticationFailed, match=r"has no key of the role.*check the connection's role_name"
    ):
        read(use("ecs_ram_role", role_name="another"), ask)


def test_a_machine_without_metadata(
    use: Use, ask: Ask, monkeypatch: pytest.MonkeyPatch, pauses: Pauses
) -> None:
    """Nothing listens there: one error at once, not half an hour of attempts."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(
        AuthenticationFailed, match=r"100\.100\.100\.200\) cannot be reached.*Only ECS instances"
    ):
        read(use("ecs_ram_role"), ask)
    monkeypatch.setattr(metadata, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AuthenticationFailed, match=r"cannot be reached.*Only servers of Huawei Cloud"):
        read(use("ecs_agency"), ask)
    assert pauses == []


def test_a_server_without_an_agency(agency: KeySource, use: Use, ask: Ask) -> None:
    agency.failure = (404, b"not found")
    with pytest.raises(AuthenticationFailed, match=r"this ECS has no agency.*Configure an agency"):
        read(use("ecs_agency"), ask)


@pytest.mark.parametrize("kind", ["default", "ram_role_arn"])
def test_no_source_in_the_default_chain(
    ecs: KeySource, use: Use, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """The error lists all sources, with what each of them lacks."""
    monkeypatch.setenv("HOME", str(tmp_path))
    ecs.failure = (404, b"<h1>404</h1>")
    extra = {"role_arn": ROLE} if kind == "ram_role_arn" else {}
    with pytest.raises(AuthenticationFailed, match=rf"credentials '{kind}' .*unable to load .*HttpCode=404"):
        read(use(kind, **extra), ask)


def test_sts_that_cannot_be_reached(use: Use, ask: Ask, pauses: Pauses) -> None:
    """That passes: a wait goes on, and a submission was certainly not received."""
    hook = use("ram_role_arn", key=True, role_arn=ROLE, sts_endpoint="http://127.0.0.1:9")
    with pytest.raises(NotReached, match=r"cannot connect to the Security Token Service.*sts_endpoint"):
        read(hook, ask)
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("credentials", "key", "extra", "message"),
    [
        ("sts", False, {}, "unknown credentials 'sts'; expected one of access_key, ram_role_arn"),
        ("access_key", False, {}, "has no access key id: set its login"),
        ("access_key", True, {"role_arn": ROLE}, "role_arn is set, but credentials is 'access_key'"),
        ("ram_role_arn", True, {}, "set the extra field role_arn, or the variable ALIBABA_CLOUD_ROLE_ARN"),
        (
            "oidc_role_arn",
            False,
            {"role_arn": ROLE},
            "set the extra field oidc_provider_arn, or the variable",
        ),
        ("ecs_ram_role", True, {}, "'ecs_ram_role', which uses no key: clear login and password"),
        ("ecs_ram_role", False, {"role_arn": ROLE}, "clear role_arn, or set credentials to 'ram_role_arn'"),
        ("ecs_agency", True, {}, "'ecs_agency', which uses no key: clear login and password"),
        ("ecs_agency", False, {"iam_domain": "x"}, "iam_domain is set, but credentials is 'ecs_agency'"),
    ],
)
def test_fields_that_do_not_fit(
    ehpc_emulator: Emulator, use: Use, credentials: str, key: bool, extra: dict[str, str], message: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _ = use(credentials, key=key, **extra).account
    assert message in str(caught.value)
    assert "connection 'ehpc_test'" in str(caught.value)


CONNECTIONS = (Path(__file__).parents[2] / "docs" / "connections.md").read_text()
EXAMPLES = re.findall(r"^```json\n(.*?)^```", CONNECTIONS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_connections_in_the_documentation(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Each is pasted as it stands, and works."""
    for variable in roles._VARIABLES.values():
        monkeypatch.setenv(variable, "x")
    connection = json.loads(EXAMPLES[number].replace("…", "x"))
    assert job_hook(connect(connection)).account.base_url.startswith("https://")
    assert {kind for kind in roles.FIELDS if f"`{kind}`" in CONNECTIONS} == set(roles.FIELDS)


def test_without_the_package(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "alibabacloud_credentials" else found(name)
    )
    with pytest.raises(InvalidArgument, match=r"pip install 'airflow-provider-ehpc\[aliyun\]'"):
        _ = use("ecs_ram_role").account


def test_no_secret_is_shown(
    ehpc_emulator: Emulator,
    sts: KeySource,
    use: Use,
    ask: Ask,
    cache: TokenCache,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Servers repeat what they were sent; STS's responses hold a key."""
    caplog.set_level(logging.INFO)
    hook = role(use, sts)
    read(hook, ask)
    (key,) = sts.issued
    secrets = [ehpc_emulator.accounts.first.secret, key.secret, str(key.security_token), key.access_key_id]
    ehpc_emulator.fault("error", status=400, code="Invalid.X", message=f"bad {' '.join(secrets)}")
    with pytest.raises(InvalidRequest) as caught:
        read(hook, ask)
    texts = [str(caught.value)]
    tokens.TOKENS.forget(next(iter(cache._grants)), next(iter(cache._grants.values()))[0])
    for status, body in (
        (200, {"Credentials": {"AccessKeyId": secrets[3], "AccessKeySecret": secrets[1]}}),
        (200, json.dumps({"Credentials": {"AccessKeySecret": secrets[1]}})[:-3].encode()),
        (403, {"RequestId": "R", "Code": "X", "Message": secrets[0]}),
    ):
        sts.failure = (status, body)
        with pytest.raises((AuthenticationFailed, NotReached)) as refused:
            hook._exchange(hook.account, ehpc.list_clusters(page_size=1))
        texts.append(str(refused.value))
    shown = "".join(texts) + repr((hook.account, cache.__dict__)) + caplog.text + "".join(capfd.readouterr())
    for secret in secrets:
        assert secret not in shown


def test_a_key_that_the_cluster_repeats_as_job_id(sts: KeySource, use: Use) -> None:
    hook = role(use, sts)
    read(hook, lambda hook, name, *args: getattr(hook, name)(*args))
    assert str(sts.issued[0].security_token) in hook.account.secrets
    hook.close()


def test_many_threads_request_one_key(sts: KeySource, use: Use) -> None:
    sts.delay = 0.3
    hook = role(use, sts)
    hooks = [EhpcHook(hook.conn_id) for _ in range(5)]
    threads = [threading.Thread(target=each.test_connection) for each in hooks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sts.issued) == 1
