# SPDX-License-Identifier: Apache-2.0
"""What a user reads when a connection is not right: each text names what to change."""

from __future__ import annotations

import asyncio
import json
import re
import traceback
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Connection

from airflow_provider_ehpc.apis.call import (
    ApiError,
    AuthenticationFailed,
    ForeignResponse,
    InvalidArgument,
    NotFound,
    NotReached,
    PermissionDenied,
)
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.compat import AirflowNotFoundException
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import ajob_hook, job_hook
from airflow_provider_ehpc.hooks.account import key_text
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.qingcloud import QingCloudHpcHook
from tests.conftest import Ask, Connect, Pauses

GetJob = ("get_job", "ehpc-hz-emulator", "77.manager")


def test_unknown_connection(ask: Ask) -> None:
    with pytest.raises(AirflowNotFoundException, match="nowhere"):
        ask(EhpcHook("nowhere"), *GetJob)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"conn_type": "http"},
            "connection 'ehpc_test' is of type 'http'; EhpcHook needs one of type aliyun_ehpc or "
            "alibaba_cloud",
        ),
        ({"login": None}, "connection 'ehpc_test' has no access key id: set its login"),
        ({"password": None}, "connection 'ehpc_test' has no secret: set its password"),
        (
            {"host": None, "extra": {"region": None}},
            "connection 'ehpc_test' names neither a region nor an endpoint: set its extra field region",
        ),
        (
            {"extra": {"timeout": "soon"}},
            "connection 'ehpc_test': timeout is 'soon'; expected a number of seconds above 0",
        ),
        ({"extra": {"timeout": 0}}, "timeout is 0; expected a number of seconds above 0"),
        ({"extra": {"timeout": 1e300}}, "timeout is 1e+300; expected a number of seconds above 0"),
        ({"extra": {"timeout": True}}, "timeout is True; expected a number of seconds above 0"),
        ({"extra": {"verify": {}}}, "verify is {}; expected true or false"),
        ({"extra": {"trust_env": "maybe"}}, "trust_env is 'maybe'; expected true or false"),
        ({"extra": {"cluster_id": ["a"]}}, "cluster_id is not a text but a list"),
        ({"host": "10.0.0.1", "port": 70000}, "port is 70000; expected 1 to 65535"),
        ({"host": "10.0.0.1", "port": -1}, "port is -1; expected 1 to 65535"),
    ],
)
def test_a_connection_that_lacks_something(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, changes: dict[str, Any], message: str
) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, **changes))
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        ask(hook, *GetJob)
    assert ehpc_emulator.requests.count() == 0


@pytest.mark.parametrize(
    "host",
    [
        "http://bad host",
        "http://host:99999",
        "host:port",
        "ftp://host",
        "http://[::1",
        "e.exam\nple.com",
        "e.exam\tple.com",
        "a..b",
        "http://.example.com",
        "http://" + "a" * 64,
        "https://host/path",
        "https://host?query",
        "https://\u4f8b\u5b50.example",
    ],
)
def test_an_endpoint_that_is_no_address(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, pauses: Pauses, host: str
) -> None:
    """requests and aiohttp fail on these in six different ways, one of them without an error of ours."""
    hook = EhpcHook(connect(ehpc_emulator.connection, host=host))
    with pytest.raises(InvalidArgument, match="is not an endpoint; write a host name such as") as caught:
        ask(hook, *GetJob)
    assert repr(host) in str(caught.value)
    assert pauses == []


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("ehpc.cn-hangzhou.aliyuncs.com", "https://ehpc.cn-hangzhou.aliyuncs.com"),
        (" ehpc.cn-hangzhou.aliyuncs.com/ ", "https://ehpc.cn-hangzhou.aliyuncs.com"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://proxy_host.example.", "https://proxy_host.example."),
        (None, "https://ehpc.cn-hangzhou.aliyuncs.com"),
    ],
)
def test_endpoints(ehpc_emulator: Emulator, connect: Connect, host: str | None, url: str) -> None:
    assert EhpcHook(connect(ehpc_emulator.connection, host=host)).account.base_url == url


@pytest.mark.parametrize("schema", ["http", "HTTP", "http://"])
def test_the_schema_field_counts(ehpc_emulator: Emulator, connect: Connect, schema: str) -> None:
    account = EhpcHook(connect(ehpc_emulator.connection, host="10.0.0.1", schema=schema)).account
    assert account.base_url == "http://10.0.0.1"


@pytest.mark.parametrize("name", ["verify", "trust_env"])
@pytest.mark.parametrize(
    ("value", "on"),
    [
        *((value, True) for value in (True, "True", "1", "", None)),
        *((value, False) for value in (False, 0, "0", "no", "off", " False ")),
    ],
)
def test_a_switch_may_be_a_text(
    ehpc_emulator: Emulator, connect: Connect, name: str, value: Any, on: bool
) -> None:
    """Connections in URI form hold only texts."""
    account = EhpcHook(connect(ehpc_emulator.connection, extra={name: value})).account
    assert getattr(account.transport, name) is on


@pytest.mark.parametrize("extra", ['{"region": "cn-hang', '["region"]', '"region=cn-hangzhou"', "null"])
def test_extra_fields_that_are_no_object(extra: str) -> None:
    connection = Connection(conn_id="odd", conn_type="aliyun_ehpc", extra=extra)
    with pytest.raises(InvalidArgument, match="connection 'odd': extra is not a JSON object"):
        EhpcHook("odd")._read(connection, connection.extra_dejson)


def test_the_port_field_counts(ehpc_emulator: Emulator, connect: Connect) -> None:
    account = EhpcHook(connect(ehpc_emulator.connection, host="10.0.0.1", schema="http", port=81)).account
    assert account.base_url == "http://10.0.0.1:81"
    assert account.host == "10.0.0.1:81"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("http://127.0.0.1:81", "http://127.0.0.1:81"),
        ("ehpc.example.com", "https://ehpc.example.com:443"),
        (None, "https://ehpc.cn-hangzhou.aliyuncs.com"),
    ],
)
def test_the_port_for_the_test_button_changes_nothing(
    ehpc_emulator: Emulator, connect: Connect, host: str | None, url: str
) -> None:
    """Airflow 3.3.2 tests no connection without one."""
    account = EhpcHook(connect(ehpc_emulator.connection, host=host, port=443)).account
    assert account.base_url == url
    assert account.host == url.partition("//")[2].removesuffix(":443")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"login": "LTAI5tSomebodyElse"}, "(InvalidAccessKeyId.NotFound, HTTP 404"),
        ({"login": "LTAI5tSomebodyElse"}, "Check the connection's login: the access key id."),
        ({"password": "not-the-secret"}, "Check the connection's password: the access key secret."),
    ],
)
def test_a_wrong_key(
    ehpc_emulator: Emulator,
    connect: Connect,
    ask: Ask,
    pauses: Pauses,
    changes: dict[str, Any],
    message: str,
) -> None:
    """And it is said at once: repeated failures can lock a key."""
    hook = EhpcHook(connect(ehpc_emulator.connection, **changes))
    with pytest.raises(AuthenticationFailed, match=re.escape(message)) as caught:
        ask(hook, *GetJob)
    assert ehpc_emulator.requests.count() == 1
    assert "GetJob of job 77.manager in cluster ehpc-hz-emulator (connection 'ehpc_test', http" in str(
        caught.value
    )
    assert "server string to sign" not in str(caught.value)


def test_an_expired_token(ehpc_emulator: Emulator, connect: Connect, ask: Ask) -> None:
    account = ehpc_emulator.issue_token(seconds=-1)
    with pytest.raises(AuthenticationFailed, match="security token has expired"):
        ask(EhpcHook(connect(ehpc_emulator.connection_of(account))), *GetJob)


def test_a_missing_token(ehpc_emulator: Emulator, connect: Connect, ask: Ask) -> None:
    connection = ehpc_emulator.connection_of(ehpc_emulator.issue_token())
    hook = EhpcHook(connect(connection, extra={"security_token": None}))
    with pytest.raises(AuthenticationFailed, match="set the connection's security token"):
        ask(hook, *GetJob)


def test_a_temporary_key_works(ehpc_emulator: Emulator, connect: Connect, ask: Ask) -> None:
    connection = ehpc_emulator.connection_of(ehpc_emulator.issue_token())
    assert ask(EhpcHook(connect(connection)), "list_jobs", ehpc_emulator.cluster_id).total_count == 0


@pytest.mark.parametrize(("seconds", "words"), [(3600, "60 minutes behind"), (-7200, "120 minutes ahead of")])
def test_a_clock_that_is_off(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, seconds: int, words: str
) -> None:
    """The cloud only says "expired"; the user would look for a wrong key."""
    ehpc_emulator.fault("clock", seconds=seconds)
    hook = EhpcHook(connect(ehpc_emulator.connection))
    with pytest.raises(AuthenticationFailed, match=f"This machine's clock is {words} the endpoint's"):
        ask(hook, *GetJob)


def test_a_right_clock_is_not_blamed(ehpc_emulator: Emulator, connect: Connect, ask: Ask) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, password="wrong-secret"))
    with pytest.raises(AuthenticationFailed) as caught:
        ask(hook, *GetJob)
    assert "clock" not in str(caught.value)


def test_an_unknown_job(hook: EhpcHook, ask: Ask) -> None:
    with pytest.raises(NotFound, match=r"job 77\.manager in cluster ehpc-hz-emulator .*Unknown Job Id"):
        ask(hook, *GetJob)


def test_an_unknown_cluster(hook: EhpcHook, ask: Ask) -> None:
    with pytest.raises(NotFound, match="Check cluster_id, and that the connection's region"):
        ask(hook, "get_job", "ehpc-hz-typo", "77")


def test_a_missing_right(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    ehpc_emulator.deny("GetJob")
    with pytest.raises(PermissionDenied, match="The RAM user or role needs the action ehpc:GetJob"):
        ask(hook, *GetJob)
    assert ehpc_emulator.requests.count("GetJob") == 1


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("http://127.0.0.1:1", "Connection refused"),
        ("http://nosuch.invalid", "the host name cannot be resolved"),
    ],
)
def test_an_endpoint_that_is_not_there(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, pauses: Pauses, host: str, why: str
) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, host=host))
    with pytest.raises(NotReached, match=f"{host}.*cannot connect: {why}. Check the region or the endpoint"):
        ask(hook, *GetJob)


def test_tls_to_a_port_that_speaks_none(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, host=ehpc_emulator.url.removeprefix("http://")))
    with pytest.raises(NotReached, match=r"https://127\.0\.0\.1:.*TLS handshake failed"):
        ask(hook, *GetJob)


@pytest.mark.parametrize("status", [200, 404])
def test_an_endpoint_that_answers_html(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, status: int
) -> None:
    """A proxy's or a portal's page with status 200 must not count as an answer."""
    ehpc_emulator.fault("html", status=status, times=99)
    with pytest.raises(ForeignResponse, match="answered text/html, not the API: ") as e:
        ask(hook, *GetJob)
    assert "check the connection's endpoint and proxy" in str(e.value)
    assert "The upstream server is gone" in str(e.value)


def test_a_connection_of_the_official_provider(ehpc_emulator: Emulator, connect: Connect, ask: Ask) -> None:
    """Users who have an ``alibaba_cloud`` connection need no second one."""
    own = ehpc_emulator.connection
    connection = {
        "conn_type": "alibaba_cloud",
        "host": ehpc_emulator.url,
        "extra": {"access_key_id": own["login"], "access_key_secret": own["password"], "region": "x"},
    }
    conn_id = connect(connection)
    assert ask(EhpcHook(conn_id), "list_jobs", ehpc_emulator.cluster_id).total_count == 0
    assert isinstance(job_hook(conn_id), EhpcHook)


def test_the_hook_is_found_by_api_or_by_type(conn_id: str) -> None:
    assert isinstance(job_hook(conn_id), EhpcHook)
    assert isinstance(job_hook(conn_id, "ehpc"), EhpcHook)
    assert isinstance(asyncio.run(ajob_hook(conn_id)), EhpcHook)
    with pytest.raises(InvalidArgument, match="api: there is no API 'ehcp'; the APIs are ehpc"):
        job_hook(conn_id, "ehcp")


def test_a_type_that_is_no_clouds(ehpc_emulator: Emulator, connect: Connect) -> None:
    conn_id = connect(ehpc_emulator.connection, conn_type="http")
    for attempt in (lambda: job_hook(conn_id), lambda: asyncio.run(ajob_hook(conn_id))):
        with pytest.raises(InvalidArgument, match="is of type 'http', which belongs to no API; make it one"):
            attempt()


FOUND = "Signed in; 1 cluster visible in cn-hangzhou; cluster ehpc-hz-emulator found."


def test_test_connection_reports_what_it_sees(ehpc_emulator: Emulator, hook: EhpcHook) -> None:
    assert hook.test_connection() == (True, FOUND)
    assert ehpc_emulator.requests.counts == {"ListClusters": {"ok": 2}}


@pytest.mark.parametrize(
    ("extra", "good", "text"),
    [
        ({"cluster_id": None}, True, "Signed in; 1 cluster visible in cn-hangzhou."),
        (
            {"cluster_id": "ehpc-hz-typo"},
            False,
            "Signed in, but cluster ehpc-hz-typo is not found (1 cluster visible in cn-hangzhou): check the "
            "extra fields cluster_id and region.",
        ),
    ],
)
def test_test_connection_and_the_cluster(
    ehpc_emulator: Emulator, connect: Connect, extra: dict[str, Any], good: bool, text: str
) -> None:
    result = EhpcHook(connect(ehpc_emulator.connection, extra=extra)).test_connection()
    assert result[0] == good
    assert result[1].startswith(text)


@pytest.mark.parametrize(
    ("conn_type", "text"),
    [
        ("huawei_modelarts", "Signed in; 0 training jobs visible in project "),
        ("qingcloud_hpc", "Signed in; 0 operations visible in zone "),
    ],
)
def test_test_connection_of_other_clouds(
    ehpc_emulator: Emulator, connect: Connect, conn_type: str, text: str
) -> None:
    hook = job_hook(connect(ehpc_emulator.connections[conn_type]))
    good, shown = hook.test_connection()
    assert good, shown
    assert shown.startswith(text)


def test_test_connection_of_modelarts_v1(ehpc_emulator: Emulator, connect: Connect) -> None:
    hook = job_hook(connect(ehpc_emulator.connections["huawei_modelarts"]), "modelarts-v1")
    assert hook.test_connection()[1].startswith("Signed in; 0 training jobs visible in project ")


def test_test_connection_names_an_unknown_cluster_of_qingcloud(
    ehpc_emulator: Emulator, connect: Connect
) -> None:
    connection = ehpc_emulator.connections["qingcloud_hpc"]
    good, text = job_hook(connect(connection, extra={"cluster_id": "ehpc-typo"})).test_connection()
    assert not good
    assert "Signed in; 0 operations visible in zone" in text
    assert "but not cluster ehpc-typo: check the extra fields cluster_id and zone" in text


def test_test_connection_without_the_right_to_list(ehpc_emulator: Emulator, hook: EhpcHook) -> None:
    ehpc_emulator.deny("ListClusters")
    good, text = hook.test_connection()
    assert not good
    assert text.endswith(
        "The RAM user or role needs the action ehpc:ListClusters. The key is accepted; only this test needs "
        "the action."
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"password": "wrong-secret"}, "Check the connection's password"),
        ({"host": "http://127.0.0.1:1"}, "cannot connect: Connection refused"),
        (
            {"host": None, "extra": {"region": "cn-hangzou"}},
            "cannot connect: the host name cannot be resolved. Check the region or the endpoint of this "
            "connection",
        ),
        ({"login": None}, "this connection has no access key id"),
    ],
)
def test_test_connection_says_why_not_at_once(
    ehpc_emulator: Emulator, connect: Connect, pauses: Pauses, changes: dict[str, Any], message: str
) -> None:
    """Airflow tests a copy of the connection, whose random ID would only confuse."""
    good, text = EhpcHook(connect(ehpc_emulator.connection, **changes)).test_connection()
    assert not good
    assert message in text
    assert "ehpc_test" not in text
    assert pauses == []


def test_errors_travel_in_events(ehpc_emulator: Emulator, hook: EhpcHook) -> None:
    """A trigger's error is raised again on the worker with the same kind and words."""
    with pytest.raises(NotFound) as caught:
        hook.get_job(ehpc_emulator.cluster_id, "77")
    rebuilt = ApiError.from_dict(json.loads(json.dumps(caught.value.as_dict())))
    assert type(rebuilt) is NotFound
    assert str(rebuilt) == str(caught.value)


@pytest.mark.parametrize("space", ["\n", "\r\n", " \t"])
@pytest.mark.parametrize("field", ["login", "password", "security_token"])
def test_white_space_around_a_key_is_left_out(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, field: str, space: str
) -> None:
    """A key that was read from a file ends with a newline (``kubectl create secret --from-file``)."""
    connection = ehpc_emulator.connection_of(ehpc_emulator.issue_token())
    if field == "security_token":
        changes: dict[str, Any] = {"extra": {field: space + connection["extra"][field] + space}}
    else:
        changes = {field: space + connection[field] + space}
    assert (
        ask(EhpcHook(connect(connection, **changes)), "list_jobs", ehpc_emulator.cluster_id).total_count == 0
    )


CLOUDS: list[tuple[type[ApiHook], dict[str, Any]]] = [
    (EhpcHook, {"conn_type": "aliyun_ehpc"}),
    (ModelArtsHook, {"conn_type": "huawei_modelarts", "extra": {"project_id": "p"}}),
    (ModelArtsHook, {"conn_type": "huawei_modelarts", "extra": {"project_id": "p", "iam_domain": "d"}}),
    (QingCloudHpcHook, {"conn_type": "qingcloud_hpc", "extra": {"zone": "z"}}),
]


@pytest.mark.parametrize(("hook", "changes"), CLOUDS)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("login", "LTAI\n5tPlanted"),
        ("login", "LTAI\x005tPlanted"),
        ("password", "Planted\nSecret"),
        ("security_token", "Planted\u0141Token"),
        ("security_token", "Planted\r\nX-Header: 1"),
    ],
)
def test_a_key_that_no_request_can_carry(
    ehpc_emulator: Emulator,
    connect: Connect,
    ask: Ask,
    hook: type[ApiHook],
    changes: dict[str, Any],
    field: str,
    value: str,
) -> None:
    """It is named before any request, and not taken for a fault of the network that may pass."""
    more = (
        {"extra": {**changes.get("extra", {}), field: value}} if field == "security_token" else {field: value}
    )
    conn_id = connect(ehpc_emulator.connection, **{**changes, **more})
    named = rf"connection 'ehpc_test': {field} (contains U\+|is set)"
    with pytest.raises(InvalidArgument, match=named) as caught:
        ask(hook(conn_id), "job_status", JobRef("1", "c"))
    assert "lanted" not in str(caught.value)
    assert ehpc_emulator.requests.count() == 0


@pytest.mark.parametrize(
    "host",
    [
        "https://me:planted-pass@ehpc.example.com",
        "me:planted-pass@ehpc.example.com",
        "https://me:planted-pass@ehpc.example.com/path?query",
        "https://me:planted/pass@ehpc.example.com",
    ],
)
@pytest.mark.parametrize(("hook", "changes"), CLOUDS)
def test_a_password_in_the_endpoint_is_not_shown(
    ehpc_emulator: Emulator,
    connect: Connect,
    ask: Ask,
    hook: type[ApiHook],
    changes: dict[str, Any],
    host: str,
) -> None:
    """It was written out in full, wherever the connection failed."""
    conn_id = connect(ehpc_emulator.connection, **{**changes, "host": host})
    with pytest.raises(InvalidArgument, match="the endpoint contains a user name or a password") as caught:
        ask(hook(conn_id), "job_status", JobRef("1", "c"))
    assert "planted" not in "".join(traceback.format_exception(caught.value))
    assert not hook(conn_id).test_connection()[0]


@pytest.mark.parametrize(
    "proxy", ["http://me:planted-pass@a..b:1", "http://me:planted[@h:1", "http://me:planted-pass@h:99999"]
)
def test_a_password_of_a_proxy_is_not_shown(
    ehpc_emulator: Emulator, connect: Connect, ask: Ask, proxy: str
) -> None:
    hook = EhpcHook(connect(ehpc_emulator.connection, extra={"proxy": proxy}))
    with pytest.raises(InvalidArgument, match="is not the address of an HTTP proxy") as caught:
        ask(hook, *GetJob)
    assert "planted" not in "".join(traceback.format_exception(caught.value))


def test_a_lone_surrogate_in_a_key() -> None:
    with pytest.raises(InvalidArgument, match=r"password contains U\+D800 at position 2"):
        key_text("c", "password", "x\ud800")
    assert key_text("c", "password", "p\u00e4ss w\u00a0rd", chosen=True) == "p\u00e4ss w\u00a0rd"
    assert key_text("c", "password", " of a person \n", chosen=True) == " of a person "


@pytest.mark.parametrize("odd", ["\n", "\t", "\0", "\u200b", "\ufeff", "\u00a0"])
@pytest.mark.parametrize(
    ("api", "conn_type", "field"),
    [
        *(("ehpc", "aliyun_ehpc", name) for name in ("password", "region", "cluster_id")),
        *(("modelarts", "huawei_modelarts", name) for name in ("password", "project_id", "region")),
        *(("qingcloud", "qingcloud_hpc", name) for name in ("password", "zone", "cluster_id")),
    ],
)
def test_a_character_that_nobody_sees_is_named(
    monkeypatch: pytest.MonkeyPatch, api: str, conn_type: str, field: str, odd: str
) -> None:
    """Copied from a web page or read from a file, it makes a wrong key, or a cluster that nobody knows."""
    extra = {"project_id": "p", "region": "cn-north-4", "zone": "jn1a", "cluster_id": "c"}
    connection: dict[str, Any] = {"conn_type": conn_type, "login": "AKID", "password": "SECRET"}
    if field == "password":
        connection["password"] = f"SEC{odd}RET"
    else:
        extra[field] += f"{odd}x"
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps({**connection, "extra": extra}))
    with pytest.raises(InvalidArgument, match=rf"{field} contains U\+{ord(odd):04X}"):
        _ = job_hook("odd", api).account


def test_an_id_may_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"region": "cn-hangzhou", "cluster_id": 5}
    connection = {"conn_type": "aliyun_ehpc", "login": "AKID", "password": "SECRET", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ODD", json.dumps(connection))
    assert job_hook("odd", "ehpc").account.cluster_id == "5"
