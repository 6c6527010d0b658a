# SPDX-License-Identifier: Apache-2.0
"""Job commands run as the user of the emulator, so only programs of that user may send requests."""

from __future__ import annotations

import http.client
import json
import logging
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Client
from tests.emulator.huawei import V2, HuaweiClient
from tests.emulator.qingcloud_client import QingCloudClient


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(scheduler="timetable") as emulator:
        yield emulator


def ask(
    emulator: Emulator, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str]:
    """Send a request to the admin endpoints; return status and text."""
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
    sent = {
        "Authorization": f"Bearer {emulator.admin_secret}",
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    try:
        connection.request(method, "/_emulator" + path, body, sent)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class TestSecret:
    @pytest.mark.parametrize(
        "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic Og==", "Bearer \u00fc", "{secret}"]
    )
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/requests"),
            ("GET", "/faults"),
            ("DELETE", "/faults"),
            ("POST", "/accounts"),
            ("POST", "/tokens"),
            ("POST", "/logs"),
            ("GET", "/operations"),
        ],
    )
    def test_admin_needs_the_secret(
        self, emulator: Emulator, method: str, path: str, authorization: str
    ) -> None:
        """Other users of this machine can reach the port, and a key allows them to run commands."""
        authorization = authorization.format(secret=emulator.admin_secret)
        status, text = ask(emulator, method, path, b"{}", Authorization=authorization)
        assert (status, "secret" in text, emulator.admin_secret in text) == (401, True, False)

    def test_each_emulator_has_its_own(self, tmp_path: Path) -> None:
        first, second = Emulator(tmp_path), Emulator(tmp_path)
        assert first.admin_secret != second.admin_secret
        assert len(first.admin_secret) >= 32


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:{port}"},
    {"Host": "localhost.evil.example:{port}"},
    {"Host": "127.0.0.1.nip.io:{port}"},
    {"Host": "10.0.0.1:{port}"},
    {"Host": "0.0.0.0:{port}"},
    {"Host": "[::]:{port}"},
    {"Host": "127.0.0.1:{port}@evil.example"},
    {"Host": "127.0.0.1:{port}:80"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "https://127.0.0.1:{port}"},
    {"Origin": "http://localhost:{port}"},  # not the name in Host
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:{port}"},
]


def _with_port(headers: Mapping[str, str], emulator: Emulator) -> dict[str, str]:
    port = str(urlsplit(emulator.url).port)
    return {name: value.replace("{port}", port) for name, value in headers.items()}


class TestBrowsers:
    @pytest.mark.parametrize("headers", FOREIGN, ids=str)
    def test_a_foreign_page_is_refused(self, emulator: Emulator, headers: dict[str, str]) -> None:
        status, text = ask(emulator, "GET", "/faults", None, **_with_port(headers, emulator))
        assert status == 403
        assert next(iter(headers)) in text

    @pytest.mark.parametrize("headers", FOREIGN, ids=str)
    def test_even_if_it_has_a_key(self, emulator: Emulator, headers: dict[str, str]) -> None:
        client = Client(emulator)
        before = emulator.requests.count()
        request = client.sign("ListJobs", {})
        sent = {**request.headers, **{k.lower(): v for k, v in _with_port(headers, emulator).items()}}
        connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
        connection.request("POST", request.target, headers=sent)
        assert connection.getresponse().status == 403
        connection.close()
        assert emulator.requests.count() == before

    def test_a_page_may_not_ask_first(self, emulator: Emulator) -> None:
        connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
        preflight = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        for path in ("/", "/_emulator/accounts", "/api/job/submitJob", "/v2/x/training-jobs"):
            connection.request("OPTIONS", path, headers=preflight)
            response = connection.getresponse()
            response.read()
            assert response.status == 403
            assert not [name for name in response.headers if name.lower().startswith("access-control")]
        connection.close()

    @pytest.mark.parametrize(
        "headers",
        [
            {"Host": "localhost:{port}"},
            {"Host": "LOCALHOST"},
            {"Host": "127.0.0.1"},
            {"Host": "[::1]:{port}"},
            {"Origin": "http://127.0.0.1:{port}"},
            {
                "Host": "localhost:{port}",
                "Origin": "http://localhost:{port}",
                "Sec-Fetch-Site": "same-origin",
            },
            {"Sec-Fetch-Site": "none"},
        ],
        ids=str,
    )
    def test_its_own_names_are_good(self, emulator: Emulator, headers: dict[str, str]) -> None:
        assert ask(emulator, "GET", "/faults", None, **_with_port(headers, emulator))[0] == 200

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.1", "example.org", "2130706433"])
    def test_it_listens_on_loopback_only(self, host: str) -> None:
        with pytest.raises(ValueError, match=r"host: .* loopback"):
            Emulator(host=host)

    def test_localhost_may_be_meant(self) -> None:
        with Emulator(host="localhost", scheduler="timetable") as emulator:
            assert Client(emulator).call("ListJobs")["TotalCount"] == 0


MALFORMED: list[tuple[str, bytes]] = [
    *(
        (path, body)
        for path in ("/faults", "/accounts", "/tokens", "/logs", "/operations")
        for body in (b"{", b"[]", b"null", b"1", b'"a"', b"\xff\xfe", b"[" * 50_000, b'{"unknown": 1}')
    ),
    ("/faults", b"{}"),
    ("/faults", b'{"kind": "nonsense"}'),
    ("/faults", b'{"kind": 1}'),
    ("/faults", b'{"kind": null}'),
    ("/faults", b'{"kind": ["error"]}'),
    ("/faults", b'{"kind": "latency", "seconds": "1"}'),
    ("/faults", b'{"kind": "latency", "seconds": NaN}'),
    ("/faults", b'{"kind": "latency", "seconds": 1e999}'),
    ("/faults", b'{"kind": "clock", "seconds": 1e15}'),
    ("/faults", b'{"kind": "latency", "seconds": 1' + b"0" * 400 + b"}"),
    ("/faults", b'{"kind": "error", "status": 9999}'),
    ("/faults", b'{"kind": "error", "status": true}'),
    ("/faults", b'{"kind": "error", "status": "503"}'),
    ("/faults", b'{"kind": "error", "times": null}'),
    ("/faults", b'{"kind": "quota", "rate": 0}'),
    ("/faults", b'{"kind": "huge", "size": -1}'),
    ("/faults", b'{"kind": "arrival", "rows": 1000000000000}'),
    ("/faults", b'{"kind": "change", "word": "eaten"}'),
    ("/faults", b'{"kind": "error", "effect": "yes"}'),
    ("/accounts", b'{"denied": "ListJobs"}'),
    ("/accounts", b'{"denied": 5}'),
    ("/accounts", b'{"denied": [1]}'),
    ("/accounts", b'{"denied": null}'),
    ("/tokens", b'{"seconds": "soon"}'),
    ("/tokens", b'{"seconds": null}'),
    ("/tokens", b'{"seconds": Infinity}'),
    ("/tokens", b'{"seconds": 1e300}'),
    ("/tokens", b'{"seconds": true}'),
    ("/logs", b"{}"),
    ("/logs", b'{"job_id": 1, "change": "append"}'),
    ("/logs", b'{"job_id": "9.manager", "change": "append"}'),
    ("/logs", b'{"job_id": "1.manager", "change": "eat"}'),
    ("/logs", b'{"job_id": "1.manager", "change": "append", "text": 1}'),
    ("/logs", b'{"job_id": "1.manager", "change": "append", "text": "\\ud800"}'),
    ("/logs", b'{"job_id": "1.manager", "change": "append", "stream": "stdlog"}'),
    ("/logs", b'{"job_id": "\\ud800", "change": "append"}'),
    ("/logs", b'{"job_id": "1.manager", "change": "truncate"}'),  # without output there is no file
    ("/operations", b'{"operations": 1}'),
    ("/operations", b'{"operations": {}}'),
    ("/operations", b'{"operations": [1]}'),
    ("/operations", b'{"operations": [{}]}'),
    ("/operations", b'{"operations": [{"began_at": "now", "action": "X"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1e300, "action": "X"}]}'),
    ("/operations", b'{"operations": [{"began_at": -1, "action": "X"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": null}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "cloud": "azure"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "cloud": "huawei"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "status": "eaten"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "resources": "ehpc-1"}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "ends_at": 1e300}]}'),
    ("/operations", b'{"operations": [{"began_at": 1, "action": "X", "\\ud800": 1}]}'),
]


@pytest.mark.parametrize(("path", "body"), MALFORMED, ids=lambda value: str(value)[:60])
def test_a_malformed_admin_request_gets_400(emulator: Emulator, path: str, body: bytes) -> None:
    """The error is one line, and the request has no effect."""
    if path == "/logs" and not emulator.requests.count("prepared"):
        emulator.submit("run=600")
    if path == "/accounts" and body == b"{}":
        return
    status, text = ask(emulator, "POST", path, body)

    assert status == 400, text
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "Traceback" not in text
    assert emulator.faults.pending() == []
    assert emulator.operations("qingcloud") == emulator.operations("aliyun") == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)
_FIELDS = ("kind", "seconds", "status", "rows", "word", "denied", "job_id", "change", "text", "operations")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/faults", "/accounts", "/tokens", "/logs", "/operations"]),
    body=st.dictionaries(st.sampled_from(_FIELDS) | st.text(max_size=5), _JSON, max_size=4),
)
def test_no_admin_request_breaks_the_emulator(emulator: Emulator, path: str, body: dict[str, Any]) -> None:
    status, _ = ask(emulator, "POST", path, json.dumps(body).encode())
    assert status in (201, 400)
    emulator.faults.clear()
    assert Client(emulator).call("ListJobs", PageSize="1")["PageSize"] == 1


def _spoil(file: Path, how: str) -> None:
    if how == "bytes":
        file.write_bytes(b"this is no database, but long enough to look like a file" * 100)
    elif how == "empty job":
        with sqlite3.connect(file) as database:
            database.execute("INSERT OR REPLACE INTO submissions VALUES (1, '{}')")
    elif how == "job without submission":
        with sqlite3.connect(file) as database:
            database.execute("INSERT INTO jobs VALUES (7, -1, '{}')")
    elif how == "keys":
        with sqlite3.connect(file) as database:
            database.execute("UPDATE facts SET value = '[{\"access_key_id\": 1}]' WHERE name = 'accounts'")
    elif how == "operation":
        with sqlite3.connect(file) as database:
            database.execute("INSERT INTO operations VALUES ('x', 'no JSON')")
    elif how == "other table":
        with sqlite3.connect(file) as database:
            database.execute("DROP TABLE facts")
            database.execute("CREATE TABLE facts (colour TEXT)")
    elif how == "index":
        with sqlite3.connect(file) as database:
            query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_operations_1'"
            (page,) = database.execute(query).fetchone()
        data = bytearray(file.read_bytes())
        data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
        file.write_bytes(bytes(data))
    elif how == "pages":
        data = bytearray(file.read_bytes())
        data[4096 : 4096 + 3000] = b"\xff" * 3000
        file.write_bytes(bytes(data))


@pytest.mark.parametrize("folder", ["", "serverless"])
@pytest.mark.parametrize(
    "how",
    ["bytes", "empty job", "job without submission", "keys", "operation", "other table", "pages", "index"],
)
def test_a_corrupt_state_file_gives_one_line(tmp_path: Path, folder: str, how: str) -> None:
    with Emulator(tmp_path, scheduler="timetable") as emulator:
        emulator.submit("run=0")
        emulator.add_operations([EmulatedOperation(time.time(), "X", id=f"j-{n}") for n in range(200)])
    file = tmp_path / folder / "state.sqlite"
    with sqlite3.connect(file) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if folder and how in ("keys", "operation", "other table", "index"):
        pytest.skip("the cluster of serverless jobs holds jobs alone")
    _spoil(file, how)

    ended = subprocess.run(
        [sys.executable, "-m", "airflow_provider_ehpc.emulator", "--directory", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert str(file) in line
    assert "Move it away" in line


def test_its_log_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """URLs contain signatures in QingCloud and passwords in E-HPC. A malformed request may have both."""
    password = 'pass"w\\ord-4711'
    with caplog.at_level(logging.DEBUG), Emulator() as emulator:
        account = emulator.accounts.first
        token = emulator.issue_token()
        client, qingcloud = Client(emulator), QingCloudClient(emulator)
        client.create("true", RunasUserPassword=password)
        qingcloud.operations()
        Client(emulator, token).call("ListJobs")
        target = qingcloud.target("/api/operation", qingcloud.parameters(limit=1))
        spec = client.sign("CreateJob", {"JobSpec": json.dumps({"RunasUserPassword": password})})
        for line in (
            f"GET {target} HTTP/9.9",
            f"GE\x00T {target} HTTP/1.1",
            f"GET {target} and more HTTP/1.1",
            f"POST {spec.target} HTTP/1.1\r\nAuthor\x01ization: {spec.headers['authorization']}",
            f"POST {spec.target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {password}",
            f"GET /{'x' * 70_000}{target} HTTP/1.1\r\nHost: 127.0.0.1",
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {account.secret * 1000}",
        ):
            connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=30)
            connection.connect()
            connection.sock.sendall(line.encode("latin-1") + b"\r\n\r\n")
            connection.sock.settimeout(5)
            connection.sock.recv(65_536)
            connection.close()
        signature = target.split("signature=")[1]
        authorization = spec.headers["authorization"].rpartition("=")[2]
        admin_secret = emulator.admin_secret
        ask(emulator, "GET", "/requests")
    written = caplog.text
    assert written  # at DEBUG, asyncio at least logs its selector
    for secret in (
        account.secret,
        str(token.security_token),
        token.secret,
        signature[:20],
        authorization,
        admin_secret,
        "4711",
    ):
        assert secret not in written


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("", {"algorithm": {"command": "x", "boot_file": "x", "parameters": 1}}),
        ("", {"spec": {"resource": {"flavor_id": "x", "node_count": 10**30}}}),
        ("", {"spec": {"resource": {"flavor_id": "x"}, "auto_stop": {"duration": [1]}}}),
        ("-searches", {"filters": 1}),
        ("-searches", {"filters": [{"key": "create_time", "operator": "between", "value": ["²", "x"]}]}),
    ],
)
def test_a_malformed_api_request_is_the_clients_error(
    emulator: Emulator, path: str, change: dict[str, Any]
) -> None:
    client = HuaweiClient(emulator)
    url = V2.replace("training-jobs", "training-job-searches") if path else V2
    body = change if path else {**client.body("job", "run=1"), **change}
    assert client.send("POST", url, body=body).status == 400


def test_deeply_nested_json_is_refused(emulator: Emulator) -> None:
    nested = "[" * 3000
    assert Client(emulator).refusal("ListJobs", JobFilter=nested) == (400, "InvalidParams")
    assert Client(emulator).refusal("StopJobs", JobIds=nested) == (400, "InvalidParams")
