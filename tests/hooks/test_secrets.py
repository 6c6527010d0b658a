# SPDX-License-Identifier: Apache-2.0
"""Planted secrets are searched for in everything that is written or raised."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import logging
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_ehpc.apis.aliyun import classic, ehpc
from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    Credentials,
    InvalidArgument,
    Signer,
)
from airflow_provider_ehpc.apis.huawei.iam import TokenSigner
from airflow_provider_ehpc.apis.huawei.signing import SdkHmacSigner
from airflow_provider_ehpc.apis.huawei.submission import job_body
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.apis.qingcloud.signing import HpcSigner
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from airflow_provider_ehpc.hooks.huawei import ModelArtsHook
from airflow_provider_ehpc.hooks.redaction import Redactor
from tests.conftest import Ask, Connect, Pauses
from tests.hooks.conftest import SECRET, Endpoint, send_bytes, send_json

TOKEN = "CAISplanted+token/with=signs&and more"
PASSWORD = 'pl@nted "päss\\word"+&<1>'
PROXY_PASSWORD = "planted-proxy-password"
VALUE = 'planted-"value"'
OPTION = "planted\\option/é"
EVERY_SECRET = (SECRET, TOKEN, PASSWORD, PROXY_PASSWORD, VALUE, OPTION)
SPEC = JobSpec(
    "made",
    "true",
    user="me",
    password=PASSWORD,
    environment={"API_KEY": VALUE},
    options={"PostCmdLine": OPTION},
)


def quotings(secret: str) -> Iterator[str]:
    """Every form in which a library or a server may quote a text."""
    for text in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
    ):
        yield from (
            text,
            quote(text),
            quote(text, safe=""),
            quote(text, safe="-_.~"),
            quote_plus(text),
            html.escape(text),
        )


def spellings(secret: str) -> Iterator[str]:
    """Every form in which a text may be written, Base64 among them."""
    for text in quotings(secret):
        yield text
        yield base64.b64encode(text.encode()).decode()


def assert_clean(written: str, *more: str, secrets: tuple[str, ...] = EVERY_SECRET) -> None:
    for secret in (*secrets, *more):
        for spelling in spellings(secret):
            assert spelling not in written


def everything_of(error: BaseException) -> str:
    """What any logger, debugger or event could write of an exception."""
    told = error.as_dict() if isinstance(error, ApiError) else {}
    chain: list[BaseException | None] = [error]
    for link in chain:
        if link is not None:
            chain += [link.__cause__, link.__context__]
    return "\n".join(
        [
            *traceback.format_exception(error),
            *map(repr, chain),
            repr(error.args),
            repr(vars(error)),
            repr(told),
        ]
    )


@pytest.fixture
def planted(endpoint: Endpoint, connect: Connect) -> EhpcHook:
    """A hook whose every secret is known."""
    return EhpcHook(connect(endpoint.connection, extra={"security_token": TOKEN}))


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Everything logged at DEBUG by anything, requests' and aiohttp's libraries too, and all output."""
    caplog.set_level(logging.DEBUG)
    for name in (
        "urllib3",
        "urllib3.connectionpool",
        "aiohttp",
        "asyncio",
        "airflow",
        "airflow_provider_ehpc",
    ):
        caplog.set_level(logging.DEBUG, logger=name)

    def collect() -> str:
        formatter = logging.Formatter("%(name)s %(levelname)s %(message)s")
        records = [formatter.format(record) + repr(record.args) for record in caplog.records]
        return "\n".join([*records, *capfd.readouterr()])

    return collect


def echo_page(handler: BaseHTTPRequestHandler) -> None:
    """Some proxies' error pages repeat the request."""
    lines = [handler.path, *(f"{n}: {v}" for n, v in handler.headers.items() if "acs" in n.lower())]
    send_bytes(handler, f"<p>{html.escape(' '.join(lines[1:] + lines[:1]))}</p>".encode(), 400, "text/html")


def echo_target(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, f"Not found: {handler.path}".encode(), 404, "text/plain")


def echo_authorization(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, f"bad header {handler.headers['authorization']}".encode(), 200, "text/plain")


def echo_message(handler: BaseHTTPRequestHandler) -> None:
    """The cloud itself, as it explains a refusal."""
    message = f"{PASSWORD} and key {SECRET} and token {TOKEN}, {VALUE} and {OPTION} are not valid"
    send_json(handler, {"RequestId": "R", "Code": f"InvalidParams.{SECRET}", "Message": message}, 400)


def echo_string_to_sign(handler: BaseHTTPRequestHandler) -> None:
    message = (
        f"Specified signature does not match. server string to sign is:POST\n/\nx-acs-security-token:{TOKEN}"
    )
    send_json(handler, {"RequestId": "R", "Code": "SignatureDoesNotMatch", "Message": message}, 400)


def echo_quoted(handler: BaseHTTPRequestHandler) -> None:
    """A gateway quotes the request as JSON, inside the JSON of its own error; the escapes are escaped."""
    request = json.dumps(
        {"password": PASSWORD, "Variables": json.dumps([{"Name": "API_KEY", "Value": VALUE}])}
    )
    message = f"{request} {json.dumps(json.dumps(OPTION))} {html.escape(TOKEN)} {quote(SECRET)}"
    send_json(handler, {"RequestId": PASSWORD, "Code": "InvalidParams", "Message": message}, 400)


def echo_page_first(handler: BaseHTTPRequestHandler) -> None:
    """Within the 200 characters that an error shows."""
    texts = (PASSWORD, SECRET, TOKEN, VALUE, OPTION)
    page = " ".join(json.dumps(text)[1:-1] for text in texts)
    send_bytes(handler, page.encode(), 200, "text/html")


def echo_foreign_json(handler: BaseHTTPRequestHandler) -> None:
    send_json(handler, {"error": {"p": PASSWORD, "v": VALUE, "o": OPTION}, "t": TOKEN})


def echo_base64(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, base64.b64encode(f"me:{PASSWORD}:".encode()), 407, "text/plain")


def echo_latin1(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, f"{PASSWORD} {OPTION}".encode("latin-1"), 403, "text/plain")


def echo_field(handler: BaseHTTPRequestHandler) -> None:
    send_json(handler, {"RequestId": "R", "JobId": {"told": PASSWORD}, "Success": [SECRET]})


def cut_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(handler.path.encode())
    handler.close_connection = True


def unavailable(handler: BaseHTTPRequestHandler) -> None:
    send_json(handler, {"Code": "ServiceUnavailable", "Message": f"{PASSWORD} {TOKEN}"}, 503)


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", f"/elsewhere?{handler.path}")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


ANSWERS = (
    *(echo_page, echo_target, echo_authorization, echo_message, echo_string_to_sign, echo_field),
    *(echo_quoted, echo_page_first, echo_foreign_json, echo_base64, echo_latin1),
    *(cut_off, unavailable, redirect),
)


@pytest.mark.parametrize("answer", ANSWERS)
def test_failures_show_no_secret(
    endpoint: Endpoint,
    planted: EhpcHook,
    ask: Ask,
    pauses: Pauses,
    written: Callable[[], str],
    answer: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    """A user pastes the log of a failed task into an issue."""
    endpoint.answer = answer
    with pytest.raises(ApiError) as caught:
        ask(planted, "create_job", "ehpc-hz-1", SPEC)
    signatures = [seen.headers["authorization"].rpartition("=")[2] for seen in endpoint.seen]
    everything = everything_of(caught.value) + written()
    assert_clean(everything, *signatures)
    # Nor a part of one, whatever became of its other characters on the way.
    shown = f"{caught.value} {caught.value.as_dict()}"
    assert not [part for part in ("lanted", "pl@n", "option", "value") if part in shown]
    assert quote(PASSWORD, safe="")[:12] in endpoint.seen[0].target  # it was there to be leaked


@pytest.mark.parametrize("length", range(150, 200, 7))
def test_a_secret_at_the_end_of_an_excerpt_is_not_shown_in_part(
    endpoint: Endpoint, planted: EhpcHook, length: int
) -> None:
    """An error shows the first 200 characters of a page: a secret cut there must not show its beginning."""
    endpoint.answer = lambda handler: send_bytes(handler, b"." * length + SECRET.encode(), 200, "text/html")
    with pytest.raises(ApiError) as caught:
        planted.list_jobs("ehpc-hz-1")
    assert SECRET[:5] not in everything_of(caught.value)


@pytest.mark.parametrize("host", ["http://127.0.0.1:1", "https://127.0.0.1:1", "http://nosuch.invalid"])
def test_unreachable_endpoints_show_no_secret(
    endpoint: Endpoint, connect: Connect, ask: Ask, pauses: Pauses, written: Callable[[], str], host: str
) -> None:
    """The libraries' own exceptions hold the whole URL, with every parameter."""
    proxy = f"http://me:{PROXY_PASSWORD}@127.0.0.1:1"
    for extra in ({}, {"proxy": proxy}):
        hook = EhpcHook(connect(endpoint.connection, host=host, extra={"security_token": TOKEN, **extra}))
        with pytest.raises(ApiError) as caught:
            ask(hook, "create_job", "ehpc-hz-1", SPEC)
        assert_clean(everything_of(caught.value) + repr(hook.account))
    assert_clean(written())


def test_success_shows_no_secret(
    endpoint: Endpoint, planted: EhpcHook, ask: Ask, written: Callable[[], str]
) -> None:
    """urllib3 logs the target of each request at DEBUG, and CreateJob's password stands in it."""
    endpoint.answer = lambda handler: send_json(handler, {"RequestId": "R", "JobId": "1.manager"})
    ask(planted, "create_job", "ehpc-hz-1", SPEC)
    assert_clean(written())


@pytest.mark.parametrize("submit", [ehpc.create_job, classic.submit_job])
def test_no_submission_shows_its_password(
    endpoint: Endpoint, planted: EhpcHook, ask: Ask, submit: Callable[[str, JobSpec], ApiCall[Any]]
) -> None:
    endpoint.answer = echo_target
    with pytest.raises(ApiError) as caught:
        ask(planted, "call", submit("ehpc-hz-1", SPEC))
    assert_clean(everything_of(caught.value))


def test_other_users_of_urllib3_keep_their_log(
    endpoint: Endpoint, planted: EhpcHook, caplog: pytest.LogCaptureFixture
) -> None:
    import requests

    planted.list_jobs("ehpc-hz-1")
    with caplog.at_level(logging.DEBUG, logger="urllib3.connectionpool"):
        requests.post(f"{endpoint.url}/?mine=1", timeout=5)
    assert "/?mine=1" in caplog.text


@pytest.mark.parametrize("debug", [True, False])
def test_no_library_logs_a_secret_in_a_loop_that_is_debugged(
    endpoint: Endpoint, planted: EhpcHook, written: Callable[[], str], debug: bool
) -> None:
    async def run() -> None:
        for answer in (cut_off, echo_page_first):
            endpoint.answer = answer
            with pytest.raises(ApiError):
                await planted.acreate_job("ehpc-hz-1", SPEC)
        await planted.aclose()

    asyncio.run(run(), debug=debug)
    assert_clean(written())


def test_a_job_id_that_repeats_a_password_is_no_job_id(
    endpoint: Endpoint, planted: EhpcHook, ask: Ask
) -> None:
    """It would be logged and stored as the job's id."""
    endpoint.answer = lambda handler: send_json(handler, {"RequestId": "R", "JobId": f"job-{PASSWORD}"})
    with pytest.raises(ApiError, match="the job id in the response repeats a secret") as caught:
        ask(planted, "submit", SPEC, "ehpc-hz-1")
    assert_clean(everything_of(caught.value))


def test_values_of_a_training_job_are_not_shown(endpoint: Endpoint, connect: Connect, ask: Ask) -> None:
    hook = ModelArtsHook(
        connect(endpoint.connection, conn_type="huawei_modelarts", extra={"project_id": "p"})
    )
    options = {"algorithm": {"engine": {"image_url": "x"}}, "spec": {"secrets": [OPTION]}}
    spec = JobSpec("made", "true", environment={"API_KEY": VALUE}, options=options)
    told = {"error_code": "ModelArts.2001", "error_msg": f"bad {VALUE}, {OPTION}"}
    endpoint.answer = lambda handler: send_json(handler, told, 400)
    with pytest.raises(ApiError, match="bad ") as caught:
        ask(hook, "submit", spec)
    assert_clean(everything_of(caught.value))


def test_options_that_contradict_are_not_shown() -> None:
    spec = JobSpec(
        "n", "true", environment={"KEY": VALUE}, options={"algorithm": {"environments": {"KEY": OPTION}}}
    )
    with pytest.raises(InvalidArgument, match=r"options.algorithm.environments.KEY: contradicts") as caught:
        job_body(spec, "modelarts")
    assert_clean(str(caught.value))


@pytest.mark.parametrize(
    "secret", [PASSWORD, OPTION, VALUE, TOKEN, "it's\nÄöÜ-日本語😀", "ends in \\", "next-one"]
)
def test_a_secret_is_recognized_in_every_spelling(secret: str) -> None:
    """Also in one inside of another, and behind a backslash that is not its own."""
    redactor = Redactor([secret])
    forms = {secret, secret.encode().decode("latin-1"), base64.b64encode(secret.encode()).decode()}
    for _ in range(2):
        forms |= {quoted for form in forms for quoted in (*quotings(form), form.replace("/", "\\/"))}
    for form in forms:
        for before, behind in (("x ", " y"), ('"', '"'), ("DOMAIN\\", "\\n")):
            assert form not in redactor.text(before + form + behind), form


def test_what_is_not_secret_stays() -> None:
    text = 'job "100%" in C:\\new & 50 %, \\u00e9 &amp; done?? 日本'
    assert Redactor([PASSWORD, "abc", "日本語日本語"]).text(text) == text
    assert Redactor(["secret"]).text("a secret, %73ecret and s\\u0065cret.") == "a ***, *** and ***."


def test_a_megabyte_of_escapes_is_redacted_in_time() -> None:
    began = time.monotonic()
    for hostile in ("\\" * 16_000, "%25" * 5_000, "&amp;" * 3_000, "\\u005c" * 2_500, "?" * 16_000):
        Redactor([PASSWORD, "\\" * 99 + "x", "x" * 20_000]).text(hostile)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("before", [0, 3000, *range(4096, 4096 + 12 * len(PASSWORD), 40)])
def test_an_error_shows_the_beginning_of_a_long_text_without_the_secret(before: int) -> None:
    """Searching all of it would take minutes and gigabytes."""
    began = time.process_time()
    filling = "." * before
    for secret in (PASSWORD, "".join(f"\\u{ord(character):04x}" for character in PASSWORD)):
        error = ApiError(f"{filling}{secret}" + "%20" * 5_000_000)
        Redactor([PASSWORD]).error(error)
        shown = error.message
        assert filling[:3900] in shown
        assert len(shown) < 5000
        rest = shown[before:].replace("%20", "")
        assert not rest.startswith((PASSWORD[:4], secret[:12]))
    assert time.process_time() - began < 2


def test_objects_show_no_secret(planted: EhpcHook) -> None:
    """A debugger, a traceback with locals or a careless log line writes a repr."""
    account = planted.account
    call = ehpc.create_job("ehpc-hz-1", SPEC)
    signed = planted._sign(account, call)
    for thing in (account, account.signer, account.transport, call, call.request, signed, SPEC, planted):
        assert_clean(repr(thing) + str(thing), signed.headers["authorization"])


def test_a_secret_in_an_argument_error_is_not_shown(endpoint: Endpoint, connect: Connect) -> None:
    hook = EhpcHook(connect(endpoint.connection, conn_type="http", extra={"security_token": TOKEN}))
    with pytest.raises(InvalidArgument) as caught:
        hook.list_jobs("ehpc-hz-1")
    assert_clean(everything_of(caught.value))


def test_test_connection_shows_no_secret(endpoint: Endpoint, planted: EhpcHook) -> None:
    """Its text is shown in the UI."""
    for answer in (echo_page, echo_message, echo_authorization):
        endpoint.answer = answer
        good, text = planted.test_connection()
        assert not good
        # The password is no part of this request, so only the server of this test knows it.
        assert_clean(text, secrets=(SECRET, TOKEN))


def test_a_cloud_that_repeats_a_secret_in_a_good_answer_is_read(
    endpoint: Endpoint, planted: EhpcHook
) -> None:
    """What is taken out of errors is not taken out of data."""
    told: dict[str, Any] = {"RequestId": "R", "Jobs": [{"JobName": SECRET}]}
    endpoint.answer = lambda handler: send_json(handler, told)
    assert planted.list_jobs("ehpc-hz-1").jobs[0].job_name == SECRET


@pytest.mark.parametrize(
    ("signer", "secrets"),
    [
        (lambda secret: Acs3Signer(Credentials("LTAI", secret)), ("first-secret", "second-secret")),
        (lambda secret: SdkHmacSigner(Credentials("AKID", secret)), ("first-secret", "second-secret")),
        (lambda secret: HpcSigner(Credentials("QYID", secret)), ("first-secret", "second-secret")),
        (TokenSigner, ("first-token", "second-token")),
    ],
    ids=["Acs3", "SdkHmac", "Hpc", "Token"],
)
def test_a_signer_names_all_that_it_makes_of_a_secret(
    signer: Callable[[str], Signer], secrets: tuple[str, str]
) -> None:
    """Requests that differ only in their secrets are the same once the secrets are masked."""
    request = ApiRequest("POST", "/x", {"a": "1"}, {"content-type": "text/plain"}, b"body")
    written = []
    for secret in secrets:
        signed = signer(secret).sign(request, host="h", now=datetime(2026, 1, 1, tzinfo=UTC), nonce="0" * 32)
        sent = json.dumps([signed.target, dict(signed.query), dict(signed.headers)])
        written.append((sent, Redactor(signed.confidential).text(sent)))
    (one, first), (other, second) = written
    assert one != other
    assert first == second
