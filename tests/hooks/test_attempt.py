# SPDX-License-Identifier: Apache-2.0
"""Every attempt ends, and its error says what happened and whether anything was sent."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun import ehpc
from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ApiError,
    ForeignResponse,
    InvalidArgument,
    NotReached,
    Throttled,
)
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import retry, transport
from airflow_provider_ehpc.hooks.account import TransportOptions
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.qingcloud import QingCloudHpcHook
from tests.conftest import Ask, Connect, Pauses
from tests.hooks.conftest import JOB, Endpoint, send_bytes, send_json

GetJob = ("get_job", "ehpc-hz-1", "12.manager")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.contextmanager
def raw_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection with bytes of the test's own; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            talk(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def drip(connection: socket.socket, before: bytes, piece: bytes) -> None:
    """Never be silent, and never come to an end."""
    connection.recv(65536)
    connection.sendall(before)
    while True:
        connection.sendall(piece)
        time.sleep(0.05)


SLOW: dict[str, Callable[[socket.socket], None]] = {
    "status line": lambda c: drip(c, b"HTTP/1.1 200 ", b"O"),
    "header": lambda c: drip(c, HEAD + b"X-Slow: ", b"x"),
    "headers": lambda c: drip(c, HEAD, b"A: b\r\n"),
    "100 Continue": lambda c: drip(c, b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": lambda c: drip(c, HEAD + b"Content-Length: 9999999\r\n\r\n{", b" "),
    "body without a length": lambda c: drip(
        c, HEAD + b"Connection: close\r\n\r\n" + b'{"RequestId": "R"', b" "
    ),
    "chunks": lambda c: drip(c, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


@pytest.mark.parametrize("part", SLOW)
def test_a_server_that_is_never_silent_is_not_waited_for(
    endpoint: Endpoint,
    connect: Connect,
    ask: Ask,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    part: str,
) -> None:
    """The read timeout holds between two bytes: one byte every half second kept a worker for ever."""
    monkeypatch.setattr(retry, "ATTEMPTS", 1)
    with raw_server(SLOW[part]) as port:
        hook = EhpcHook(connect(endpoint.connection, host=f"http://127.0.0.1:{port}", extra={"timeout": 0.2}))
        began = time.monotonic()
        # Some servers fail otherwise before: http.client takes no more than a hundred headers.
        with pytest.raises(AnswerLost, match=r"the request was sent, but (no|the connection)"):
            ask(hook, *GetJob)
        assert time.monotonic() - began < 5


def test_an_attempt_has_a_deadline_that_follows_the_timeout() -> None:
    assert TransportOptions().attempt_timeout == 130
    assert TransportOptions.from_extra("c", {"timeout": 5}, "https").attempt_timeout == 15


def test_a_slow_response_within_the_deadline_is_read(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    body = b'{"RequestId": "R", "JobInfo": {"JobId": "12.manager", "State": "RUNNING"}}'

    def slowly(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 20):
            connection.sendall(body[at : at + 20])
            time.sleep(0.1)

    with raw_server(slowly) as port:
        hook = EhpcHook(connect(endpoint.connection, host=f"http://127.0.0.1:{port}", extra={"timeout": 2}))
        assert ask(hook, *GetJob).job_info.state == "RUNNING"
    assert pauses == []


def test_a_deadline_that_passed_does_not_end_the_next_attempt(endpoint: Endpoint, connect: Connect) -> None:
    """The timer of an attempt must not shut down a connection that another one uses by then."""
    hook = EhpcHook(connect(endpoint.connection, extra={"timeout": 0.3}))
    for _ in range(4):
        hook.get_job(*GetJob[1:])
        time.sleep(0.25)
    hook.close()
    assert len(endpoint.seen) == 4


# What was not sent


def silent_proxy(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(5)


def closing_proxy(connection: socket.socket) -> None:
    connection.recv(65536)


def refusing_proxy(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")


def no_tls(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"220 smtp.example.com ready\r\n")


@pytest.mark.parametrize(
    ("talk", "cause"),
    [
        (silent_proxy, "no (complete )?response (came )?within"),
        (closing_proxy, "was lost"),
        (refusing_proxy, r"the proxy refused the connection \(HTTP 407\)"),
    ],
)
def test_what_a_proxy_did_not_pass_on_was_not_sent(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, talk: Any, cause: str
) -> None:
    """A write may be repeated then, and "the request was sent" would be wrong."""
    with raw_server(talk) as port:
        extra = {"proxy": f"http://127.0.0.1:{port}", "timeout": 0.3}
        hook = EhpcHook(connect(endpoint.connection, host="https://ehpc.invalid", extra=extra))
        with pytest.raises(NotReached, match=f"cannot connect: .*{cause}") as caught:
            ask(hook, "create_job", "ehpc-hz-1", JobSpec("n", "true"))
    assert "was sent" not in str(caught.value)
    assert len(pauses) == 4


def test_a_proxy_that_is_not_there(endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses) -> None:
    hook = EhpcHook(connect(endpoint.connection, extra={"proxy": "http://127.0.0.1:1"}))
    with pytest.raises(NotReached, match="cannot connect: the proxy: Connection refused"):
        ask(hook, *GetJob)


def test_a_port_without_tls(endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses) -> None:
    with raw_server(no_tls) as port:
        hook = EhpcHook(connect(endpoint.connection, host=f"https://127.0.0.1:{port}"))
        with pytest.raises(NotReached, match="cannot connect: TLS handshake failed"):
            ask(hook, *GetJob)


@pytest.mark.parametrize(
    "body",
    [b"\x1f\x8b\x08 no gzip", gzip.compress(b'{"RequestId": "R"}' * 999)[:60]],
    ids=["none", "cut off"],
)
def test_a_body_that_cannot_be_decompressed(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, body: bytes
) -> None:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    endpoint.answer = answer
    with pytest.raises(ApiError) as caught:
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)
    assert caught.value.transient
    assert len(endpoint.seen) == 5


# Responses that are not the API's

FOREIGN = [
    (
        200,
        b"<html>maintenance</html>",
        "text/html",
        "answered text/html, not the API: '<html>maintenance</html>'",
    ),
    (403, b"<html>blocked</html>", "text/html", "answered text/html, not the API"),
    (404, b"<html>gone</html>", "text/html", "answered text/html, not the API"),
    (503, b"<html>busy</html>", "text/html", "answered text/html, not the API"),
    (407, b"<html>login</html>", "text/html", "answered text/html, not the API"),
    (200, b"", "application/json", r"answered with an empty body \(application/json\), not the API"),
    (204, b"", "application/json", "answered with an empty body"),
    (404, b"", "text/plain", "answered with an empty body"),
    (200, b"{}", "application/json", "answered application/json, not the API: '{}'"),
    (404, b"{}", "application/json", "answered application/json, not the API: '{}'"),
    (404, b'{"code": 404, "message": "no route"}', "application/json", "not the API: .*no route"),
    (503, b'{"error": "upstream"}', "application/json", "not the API: .*upstream"),
    (200, b"[]", "application/json", "not the API: '\\[\\]'"),
    (200, b"null", "application/json", "not the API: 'null'"),
    (200, b'{"RequestId": "R", "JobInfo": {"Jo', "application/json", "not the API: .*JobInfo"),
    (302, b"", "text/html", "the endpoint redirects, which the API never does"),
    (302, b'{"RequestId": "R"}', "application/json", "the endpoint redirects"),
]
READS = [
    (EhpcHook, {}, ("get_job", "c", "12.manager")),
    (
        ModelArtsHook,
        {"conn_type": "huawei_modelarts", "extra": {"project_id": "p"}},
        ("show_training_job", "3faf5c03-aaa1-4cbe-879d-24b05d997347"),
    ),
    (QingCloudHpcHook, {"conn_type": "qingcloud_hpc", "extra": {"zone": "z"}}, ("job_detail", "c", "hj-1")),
]


@pytest.mark.parametrize(("status", "body", "kind", "message"), FOREIGN)
@pytest.mark.parametrize(("hook", "changes", "read"), READS, ids=["ehpc", "modelarts", "qingcloud"])
def test_a_read_waits_for_a_maintenance_page_to_go(
    endpoint: Endpoint,
    connect: Connect,
    ask: Ask,
    pauses: Pauses,
    hook: Any,
    changes: dict[str, Any],
    read: tuple[str, ...],
    status: int,
    body: bytes,
    kind: str,
    message: str,
) -> None:
    """It says nothing of the job, whatever its status; and if it stays, it is the cause that is named."""

    def answer(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Location", "/portal")
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    endpoint.answer = answer
    with pytest.raises(ForeignResponse, match=f"{message}.*HTTP {status}") as caught:
        ask(hook(connect(endpoint.connection, **changes)), *read)
    assert caught.value.transient
    assert len(endpoint.seen) == 5
    rebuilt = ApiError.from_dict(caught.value.as_dict())
    assert type(rebuilt) is ForeignResponse


def test_a_write_is_not_repeated_behind_a_maintenance_page(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    endpoint.answer = lambda handler: send_bytes(handler, b"<html>", 200, "text/html")
    with pytest.raises(ForeignResponse, match="It may have taken effect: check before you repeat it"):
        ask(EhpcHook(connect(endpoint.connection)), "create_job", "c", JobSpec("n", "true"))
    assert len(endpoint.seen) == 1


def test_an_error_of_the_api_with_407_is_the_apis(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    told = {"RequestId": "R", "Code": "NotAuthorized", "Message": "denied by RAM"}
    endpoint.answer = lambda handler: send_json(handler, told, 407)
    with pytest.raises(ApiError, match="denied by RAM") as caught:
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)
    assert not caught.value.transient


def test_429_of_whoever_it_is_slows_down(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    endpoint.answer = lambda handler: send_bytes(handler, b"<html>", 429, "text/html")
    with pytest.raises(Throttled):
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)


def test_a_response_that_breaks_its_reader_is_unexpected(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    """Whatever a cloud sends, a wait gets an error that it knows."""
    import dataclasses

    def read(response: Any) -> Any:
        raise OverflowError("PlantedSecret")

    call = dataclasses.replace(ehpc.get_job("c", "1"), read=read)
    with pytest.raises(ApiError, match=r"the response cannot be read \(OverflowError\)") as caught:
        ask(EhpcHook(connect(endpoint.connection)), "call", call)
    assert caught.value.__context__ is None


# Local errors


@pytest.mark.parametrize("text", ["\ud800", "12\udcff.manager"])
def test_an_id_that_cannot_be_encoded(endpoint: Endpoint, connect: Connect, ask: Ask, text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"JobId: character . cannot be encoded"):
        ask(EhpcHook(connect(endpoint.connection)), "get_job", "ehpc-hz-1", text)
    extra = {"project_id": "p"}
    hook = ModelArtsHook(connect(endpoint.connection, conn_type="huawei_modelarts", extra=extra))
    with pytest.raises(InvalidArgument, match=r"id: character . cannot be encoded"):
        ask(hook, "show_training_job", text)
    body = {"kind": "job", "metadata": {"name": "n"}, "algorithm": {"command": text}}
    with pytest.raises(InvalidArgument, match="algorithm: character"):
        ask(hook, "create_training_job", body)
    assert endpoint.seen == []


# Nothing comes back that was not asked to


def test_no_cookie_is_sent_back(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    """A session of a load balancer would tie all requests of an account to one machine."""

    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Set-Cookie", "lb=1; Path=/")
        body = b'{"RequestId": "R", "TotalCount": 0}'
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    endpoint.answer = answer
    # By name: aiohttp's own jar takes no cookies from an address.
    hook = EhpcHook(connect(endpoint.connection, host=f"http://localhost:{endpoint.port}"))

    def both() -> Any:
        yield ehpc.list_jobs("c")
        yield ehpc.list_jobs("c")

    ask(hook, "drive", both())
    assert len(endpoint.seen) == 2
    assert [seen for seen in endpoint.seen if "cookie" in seen.headers] == []


def test_a_get_has_no_content_length(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    """ "Making an API Request" of Huawei Cloud: it "must be left blank" for a GET."""
    endpoint.answer = lambda handler: send_json(handler, {"metadata": {"id": "j"}, "status": {}})
    changes = {"conn_type": "huawei_modelarts", "extra": {"project_id": "p"}}
    ask(ModelArtsHook(connect(endpoint.connection, **changes)), "show_training_job", "j")
    assert endpoint.seen[0].method == "GET"
    assert "content-length" not in endpoint.seen[0].headers


@pytest.mark.parametrize(("mebibytes", "read"), [(15, True), (17, False)])
def test_the_largest_response(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, mebibytes: int, read: bool
) -> None:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.fault("huge", size=mebibytes * 1024 * 1024)
    if read:
        assert ask(hook, "get_job", ehpc_emulator.cluster_id, job_id).job_info.job_id == job_id
    else:
        with pytest.raises(ApiError, match="the response is longer than 16 MiB"):
            ask(hook, "get_job", ehpc_emulator.cluster_id, job_id)


def test_a_job_that_is_there_is_found(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    assert ask(EhpcHook(connect(endpoint.connection)), *GetJob).job_info.job_id == JOB["JobInfo"]["JobId"]  # type: ignore[index]


@pytest.mark.parametrize("way", ["sync", "async"])
@pytest.mark.parametrize("target", ["refused", "cut off"])
def test_nothing_of_a_librarys_exception_hangs_on_ours(
    endpoint: Endpoint, connect: Connect, way: str, target: str
) -> None:
    """It holds the URL, and with it every parameter; a logger writes the whole chain."""

    def cut(handler: Any) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    endpoint.answer = cut
    host = "http://127.0.0.1:1" if target == "refused" else endpoint.url
    hook = EhpcHook(connect(endpoint.connection, host=host))
    request = hook._sign(hook.account, ehpc.get_job("c", "1"))

    async def arun() -> None:
        try:
            await transport.asend(hook._get_async_session(hook.account), hook.account, request)
        finally:
            await hook.aclose()

    def run() -> None:
        if way == "async":
            asyncio.run(arun())
        else:
            transport.send(hook.get_conn(), hook.account, request)

    with pytest.raises(ApiError) as caught:
        run()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
