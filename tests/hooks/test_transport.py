# SPDX-License-Identifier: Apache-2.0
"""What goes over the wire, and what is made of answers that no cloud should give."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import zlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import (
    AnswerLost,
    ForeignResponse,
    InvalidArgument,
    NotReached,
    ServiceUnavailable,
    UnexpectedResponse,
)
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import transport
from airflow_provider_ehpc.hooks.account import TransportOptions
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Ask, Connect, Pauses
from tests.hooks.conftest import JOB, KEY, SECRET, Endpoint, send_bytes, send_json

GetJob = ("get_job", "ehpc-hz-1", "12.manager")


def test_only_what_the_api_knows_is_sent(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    """The http provider would send every extra field as a header, and the key pair as Basic auth."""
    extra = {"private": "not-for-the-wire", "headers": {"X-More": "1"}, "verify": True, "timeout": 5}
    hook = EhpcHook(connect(endpoint.connection, extra=extra))
    ask(hook, *GetJob)
    (seen,) = endpoint.seen
    assert seen.headers["authorization"].startswith("ACS3-HMAC-SHA256 Credential=")
    assert set(seen.headers) <= {
        *("accept", "accept-encoding", "authorization", "connection", "content-length", "host"),
        *("user-agent", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce"),
        "x-acs-version",
    }
    assert seen.headers["user-agent"].startswith("airflow-provider-ehpc/")
    assert "not-for-the-wire" not in repr(seen)


def test_both_transports_send_the_same(endpoint: Endpoint, connect: Connect) -> None:
    """Header names, target and body: a signature that holds for one must hold for the other."""
    hook = EhpcHook(connect(endpoint.connection))
    hook.list_jobs("ehpc-hz-1", job_name="α β&=+/~*'", page_size=7)
    hook.close()

    async def again() -> None:
        await hook.alist_jobs("ehpc-hz-1", job_name="α β&=+/~*'", page_size=7)
        await hook.aclose()

    import asyncio

    asyncio.run(again())
    sync, asynchronous = endpoint.seen
    assert sync.target == asynchronous.target
    assert "%CE%B1%20%CE%B2%26%3D%2B%2F~%2A%27" in sync.target
    # "connection: keep-alive" and the accepted encodings are the libraries' own.
    own = {"connection", "accept-encoding"}
    assert set(sync.headers) - own == set(asynchronous.headers) - own
    assert sync.body == asynchronous.body == b""


def test_netrc_has_no_say(
    endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """aiohttp refused to send a signed request to a host that stands in the user's ~/.netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password other-secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert ask(EhpcHook(connect(endpoint.connection)), *GetJob).job_info.state == "RUNNING"
    assert endpoint.seen[0].headers["authorization"].startswith("ACS3")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_redirect_is_followed(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, status: int
) -> None:
    """A signed request, with its token, must not be carried to wherever an answer points."""

    def redirect(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Location", f"{endpoint.url}/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    endpoint.answer = redirect
    with pytest.raises(ForeignResponse, match=f"the endpoint redirects.*HTTP {status}"):
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)
    assert {seen.target.partition("?")[0] for seen in endpoint.seen} == {"/"}


def test_an_endless_answer_is_given_up(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken endpoint must not fill the triggerer's memory."""
    monkeypatch.setattr(transport, "MAX_BODY", 1024 * 1024)
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.fault("huge", size=64 * 1024 * 1024)
    with pytest.raises(UnexpectedResponse, match="the response is longer than 1 MiB; the rest was not read"):
        ask(hook, "get_job", ehpc_emulator.cluster_id, job_id)


def test_a_compressed_answer_is_bounded_by_what_it_unpacks_to(
    endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 1024 * 1024)
    bomb = zlib.compress(b" " * 8 * 1024 * 1024)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "deflate")
        handler.send_header("Content-Length", str(len(bomb)))
        handler.end_headers()
        handler.wfile.write(bomb)

    endpoint.answer = answer
    with pytest.raises(UnexpectedResponse, match="longer than 1 MiB"):
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)


def test_a_big_answer_is_read_whole(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.fault("huge", size=5 * 1024 * 1024)
    answer = ask(hook, "get_job", ehpc_emulator.cluster_id, job_id)
    assert len(answer.model_extra["Padding"]) == 5 * 1024 * 1024


def test_a_body_that_breaks_off_is_an_answer_lost(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, pauses: Pauses
) -> None:
    """Half an answer must not be taken for a whole one; a read is simply asked again."""
    job_id = ehpc_emulator.submit("true")
    ehpc_emulator.fault("truncate", times=99)
    with pytest.raises(AnswerLost, match="the request was sent, but the connection was lost"):
        ask(hook, "get_job", ehpc_emulator.cluster_id, job_id)
    ehpc_emulator.faults.clear()
    ehpc_emulator.fault("truncate", times=2)
    assert ask(hook, "get_job", ehpc_emulator.cluster_id, job_id).job_info.job_id == job_id


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_silent_endpoint_is_not_waited_for(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, part: str
) -> None:
    """Without a time-out a worker would hang as long as a firewall swallows packets."""
    over = threading.Event()

    def silence(handler: BaseHTTPRequestHandler) -> None:
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b'{"Req')
            handler.wfile.flush()
        over.wait(20)

    endpoint.answer = silence
    hook = EhpcHook(connect(endpoint.connection, extra={"timeout": 0.2}))
    try:
        with pytest.raises(AnswerLost, match=r"no response came within 0\.2 s"):
            ask(hook, *GetJob)
    finally:
        over.set()


def test_time_outs_are_always_set(endpoint: Endpoint, connect: Connect) -> None:
    options = EhpcHook(connect(endpoint.connection)).account.transport
    assert (options.connect_timeout, options.read_timeout) == (10, 60)
    options = EhpcHook(connect(endpoint.connection, extra={"timeout": "120"})).account.transport
    assert (options.connect_timeout, options.read_timeout) == (10, 120)


def test_a_certificate_nobody_vouches_for(
    tls_endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    with pytest.raises(NotReached, match=r"the certificate is not trusted \(self-signed certificate\)"):
        ask(EhpcHook(connect(tls_endpoint.connection)), *GetJob)
    assert tls_endpoint.seen == []


@pytest.mark.parametrize("verify", [False, "false", "file"])
def test_verify_options(tls_endpoint: Endpoint, connect: Connect, ask: Ask, verify: Any) -> None:
    verify = str(tls_endpoint.ca_file) if verify == "file" else verify
    hook = EhpcHook(connect(tls_endpoint.connection, extra={"verify": verify}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("urllib3.connectionpool.warnings.warn", lambda *args, **kwargs: None)
        assert ask(hook, *GetJob).job_info.state == "RUNNING"


def test_the_connections_certificates_outrank_the_environments(
    tls_endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """requests lets REQUESTS_CA_BUNDLE overrule what the user set on the connection."""
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    hook = EhpcHook(connect(tls_endpoint.connection, extra={"verify": str(tls_endpoint.ca_file)}))
    assert ask(hook, *GetJob).job_info.state == "RUNNING"


@pytest.mark.parametrize(
    "variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"]
)
@pytest.mark.parametrize("trust_env", [True, False])
def test_certificates_of_the_environment(
    tls_endpoint: Endpoint,
    connect: Connect,
    ask: Ask,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    variable: str,
    trust_env: bool,
) -> None:
    """What works on a worker (requests) works in the triggerer (aiohttp), and the other way round."""
    place = tls_endpoint.ca_file
    assert place
    if variable == "SSL_CERT_DIR":
        name = subprocess.run(
            ["openssl", "x509", "-hash", "-noout", "-in", place], capture_output=True, text=True, check=True
        ).stdout.strip()
        folder = tmp_path / "certificates"
        folder.mkdir()
        (folder / f"{name}.0").write_bytes(place.read_bytes())
        place = folder
    monkeypatch.setenv(variable, str(place))
    hook = EhpcHook(connect(tls_endpoint.connection, extra={"trust_env": trust_env}))
    if trust_env:
        assert ask(hook, *GetJob).job_info.state == "RUNNING"
    else:
        with pytest.raises(NotReached, match="the certificate is not trusted"):
            ask(hook, *GetJob)


def test_the_first_of_the_environments_certificates_counts(
    tls_endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import certifi

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls_endpoint.ca_file))
    monkeypatch.setenv("CURL_CA_BUNDLE", certifi.where())
    monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
    assert ask(EhpcHook(connect(tls_endpoint.connection)), *GetJob).job_info.state == "RUNNING"


@pytest.mark.parametrize("content", [None, "no certificates"])
@pytest.mark.parametrize("where", ["verify", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_certificates_that_cannot_be_read(
    tls_endpoint: Endpoint,
    connect: Connect,
    ask: Ask,
    pauses: Pauses,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    where: str,
    content: str | None,
) -> None:
    """It is named before any request; a fault of the network would be waited for."""
    file = tmp_path / "missing-ca.pem"
    if content:
        file.write_text(content)
    if where != "verify":
        monkeypatch.setenv(where, str(file))
    extra = {"verify": str(file)} if where == "verify" else {}
    hook = EhpcHook(connect(tls_endpoint.connection, extra=extra))
    with pytest.raises(InvalidArgument, match=f"{where}.*missing-ca.pem"):
        ask(hook, *GetJob)
    assert tls_endpoint.seen == []


@pytest.mark.parametrize("verify", [None, ""])
def test_an_empty_field_does_not_switch_certificates_off(
    tls_endpoint: Endpoint, connect: Connect, verify: Any
) -> None:
    hook = EhpcHook(connect(tls_endpoint.connection, extra={"verify_ssl": True}))
    extra = json.loads(os.environ["AIRFLOW_CONN_EHPC_TEST"])["extra"]
    assert TransportOptions.from_extra("c", {**extra, "verify": verify}, "https").verify is True
    assert hook.account.transport.verify is True


@pytest.mark.parametrize("form", ["url", "host:port", "mapping"])
def test_a_proxy_of_the_connection(endpoint: Endpoint, connect: Connect, ask: Ask, form: str) -> None:
    """``endpoint`` plays the proxy: the host that is asked for does not exist."""
    proxy = {
        "url": {"proxy": endpoint.url},
        "host:port": {"proxy": endpoint.url.removeprefix("http://")},
        "mapping": {"proxies": {"http": endpoint.url}},
    }[form]
    hook = EhpcHook(connect(endpoint.connection, host="http://ehpc.invalid", extra=proxy))
    assert ask(hook, *GetJob).job_info.state == "RUNNING"
    assert endpoint.seen[0].target.startswith("http://ehpc.invalid/?ClusterId=ehpc-hz-1")
    assert endpoint.seen[0].headers["host"] == "ehpc.invalid"


def test_a_proxy_of_the_environment(
    endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", endpoint.url)
    hook = EhpcHook(connect(endpoint.connection, host="http://ehpc.invalid"))
    assert ask(hook, *GetJob).job_info.state == "RUNNING"
    assert endpoint.seen[0].target.startswith("http://ehpc.invalid/")


def test_the_connections_proxy_outranks_the_environments(
    endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    hook = EhpcHook(connect(endpoint.connection, host="http://ehpc.invalid", extra={"proxy": endpoint.url}))
    assert ask(hook, *GetJob).job_info.state == "RUNNING"


@pytest.mark.parametrize("way", ["trust_env", "no_proxy"])
def test_the_environments_proxy_can_be_left_out(
    endpoint: Endpoint, connect: Connect, ask: Ask, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    if way == "no_proxy":
        monkeypatch.setenv("no_proxy", "127.0.0.1")
    hook = EhpcHook(connect(endpoint.connection, extra={"trust_env": False} if way == "trust_env" else {}))
    assert ask(hook, *GetJob).job_info.state == "RUNNING"


@pytest.mark.parametrize("proxy", ["socks5://10.0.0.1:1080", "http://a..b:3128"])
def test_a_proxy_that_cannot_be_used(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, proxy: str
) -> None:
    hook = EhpcHook(connect(endpoint.connection, extra={"proxy": proxy}))
    with pytest.raises(InvalidArgument, match="is not the address of an HTTP proxy"):
        ask(hook, *GetJob)


def test_a_proxy_that_refuses(endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses) -> None:
    endpoint.answer = lambda handler: send_bytes(handler, b"no", 407, "text/plain")
    hook = EhpcHook(connect(endpoint.connection, host="ehpc.invalid", extra={"proxy": endpoint.url}))
    with pytest.raises(NotReached, match="cannot connect: the proxy refused the connection"):
        ask(hook, *GetJob)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"RequestId": "R-7", "JobInfo": 5}', "field JobInfo is not as documented.*request id R-7"),
    ],
)
def test_answers_that_are_none(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, body: bytes, message: str
) -> None:
    endpoint.answer = lambda handler: send_bytes(handler, body)
    with pytest.raises(UnexpectedResponse, match=message):
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)
    assert len(endpoint.seen) == 1


def test_a_refusal_with_status_200_is_an_error(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses
) -> None:
    """``Success: false`` comes with HTTP 200; its empty fields would look like a job without a state."""
    told = {"RequestId": "R-1", "Success": "false", "Message": "agent is busy"}
    endpoint.answer = lambda handler: send_json(handler, told)
    with pytest.raises(ServiceUnavailable, match=r"agent is busy \(HTTP 200, request id R-1\)"):
        ask(EhpcHook(connect(endpoint.connection)), *GetJob)


def test_unknown_fields_are_kept(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    told = {**JOB, "JobInfo": {**JOB["JobInfo"], "Novelty": {"a": 1}}}
    endpoint.answer = lambda handler: send_bytes(handler, json.dumps(told).encode())
    assert ask(EhpcHook(connect(endpoint.connection)), *GetJob).job_info.model_extra == {"Novelty": {"a": 1}}


def test_the_account_is_who_signs(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    ask(EhpcHook(connect(endpoint.connection)), *GetJob)
    (seen,) = endpoint.seen
    assert f"Credential={KEY}," in seen.headers["authorization"]
    assert SECRET not in repr(seen)
