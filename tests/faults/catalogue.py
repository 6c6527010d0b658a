# SPDX-License-Identifier: Apache-2.0
"""The faults, one line each: what happens to a request, and what the final error must name.

What the tasks must make of a fault follows from its :class:`Kind`; ``test_matrix.py`` asserts it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

from tests.faults import values
from tests.faults.server import Act, Exchange
from tests.faults.values import changed

MEGABYTE = 1024 * 1024
HTML = b"<html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"


@dataclass(frozen=True)
class Api:
    """One of the six APIs."""

    name: str
    conn_type: str
    log: bool = False
    audit: bool = False

    def error(self, status: int, code: str, message: str) -> tuple[bytes, int]:
        """Return an error in the API's own form."""
        if self.conn_type == "aliyun_ehpc":
            body: dict[str, Any] = {"RequestId": "R-1", "HostId": "h", "Code": code, "Message": message}
        elif self.conn_type == "huawei_modelarts":
            body = {"error_code": code, "error_msg": message}
        else:
            # The code decides, whatever the status.
            body = {"ret_code": int(code), "message": message}
        return json.dumps(body).encode(), status


APIS = {
    api.name: api
    for api in (
        Api("ehpc", "aliyun_ehpc", log=True, audit=True),
        Api("ehpc-classic", "aliyun_ehpc", log=True),
        Api("ehpc-serverless", "aliyun_ehpc"),
        Api("modelarts", "huawei_modelarts", log=True),
        Api("modelarts-v1", "huawei_modelarts", log=True),
        Api("qingcloud", "qingcloud_hpc", audit=True),
    )
}
ALIYUN = frozenset({"ehpc", "ehpc-classic", "ehpc-serverless"})
HUAWEI = frozenset({"modelarts", "modelarts-v1"})


class Kind(StrEnum):
    """What a user wants of a fault."""

    PASSES = "passes"
    """It may pass: while it lasts the task waits, afterwards nothing is missing; if it lasts too long, the
    task ends with the cause."""
    HARMLESS = "harmless"
    """It spoils nothing that is needed: the task ends as without it."""
    FINAL = "final"
    """Waiting does not help: the task ends at once, with the cause."""
    WRONG = "wrong"
    """The response cannot be used, whether it passes or not: never a result, but an error with the cause."""


@dataclass(frozen=True)
class Fault:
    """One fault.

    :param act: what happens to a request; takes the API first.
    :param cause: a regular expression that the final error matches.
    :param apis: the APIs that it can happen to; all if it is empty.
    :param tasks: the kinds of tasks that it is tried with. If it is empty, all; a task that waits for many
        jobs only with what is harmless: otherwise it takes the way of the one that waits for one.
    :param durations: if given, only these of what its kind is tried with.
    :param slow: the cell takes seconds.
    :param setup: what the server or the connection needs: ``refuse``, ``tls``, ``plain``, ``dns``.
    """

    name: str
    kind: Kind
    act: Callable[[Api, Exchange], None]
    cause: str = ""
    apis: frozenset[str] = frozenset()
    tasks: frozenset[str] = frozenset()
    durations: tuple[str, ...] = ()
    slow: bool = False
    setup: str = ""


def _any_api(act: Act) -> Callable[[Api, Exchange], None]:
    return lambda api, exchange: act(exchange)


def _answer(body: bytes = b"", status: int = 200, **more: Any) -> Callable[[Api, Exchange], None]:
    return lambda api, exchange: exchange.respond(body, status, **more)


def _page(status: int) -> Fault:
    act = _answer(HTML, status, kind="text/html")
    return Fault(f"html_{status}", Kind.PASSES, act, rf"(?s)HTTP {status}")


def _redirect(status: int) -> Fault:
    act = _answer(b"", status, headers={"Location": "/elsewhere"})
    return Fault(f"redirect_{status}", Kind.PASSES, act, rf"HTTP {status}")


def _own_error(status: int, codes: dict[str, str], message: str) -> Callable[[Api, Exchange], None]:
    def act(api: Api, exchange: Exchange) -> None:
        body, code = api.error(status, codes[api.conn_type], message)
        exchange.respond(body, code)

    return act


def _throttled(name: str, value: str) -> Fault:
    codes = {"aliyun_ehpc": "Throttling.User", "huawei_modelarts": "APIG.0308", "qingcloud_hpc": "2500"}

    def act(api: Api, exchange: Exchange) -> None:
        body, status = api.error(429, codes[api.conn_type], "too many requests")
        exchange.respond(body, status, {"Retry-After": value})

    # What is odd is the header, not that it lasts.
    durations = () if name == "plain" else ("passing",)
    return Fault(f"throttled_{name}", Kind.PASSES, act, "too many requests", durations=durations)


def _truncated(exchange: Exchange) -> None:
    body = exchange.upstream().body
    exchange.respond(body[: len(body) // 2], length=len(body))


def _truncated_json(exchange: Exchange) -> None:
    body = exchange.upstream().body
    exchange.respond(body[: len(body) // 2])


def _truncated_gzip(exchange: Exchange) -> None:
    body = gzip.compress(exchange.upstream().body)
    exchange.respond(body[: len(body) // 2], headers={"Content-Encoding": "gzip"})


def _not_gzip(exchange: Exchange) -> None:
    exchange.respond(exchange.upstream().body, headers={"Content-Encoding": "gzip"})


def _whole_gzip(exchange: Exchange) -> None:
    exchange.respond(gzip.compress(exchange.upstream().body), headers={"Content-Encoding": "gzip"})


def _bomb(size: int, exchange: Exchange) -> None:
    packer = zlib.compressobj(9, wbits=31)  # 31: with the header of gzip
    begin, block = (packer.compress(bytes(MEGABYTE)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    # Behind a full flush, blocks stand for themselves. The checksum at the end is one that nobody comes to.
    exchange.respond(begin + block * (size // MEGABYTE - 1), headers={"Content-Encoding": "gzip"})


def _huge(exchange: Exchange) -> None:
    exchange.respond(b'{"Padding": "', length=1024 * MEGABYTE)
    for _ in range(1023):
        exchange.send(b"x" * MEGABYTE)


def _reset(exchange: Exchange) -> None:
    exchange.reset()


def _reset_in_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
    exchange.reset()


def _reset_in_body(exchange: Exchange) -> None:
    body = exchange.upstream().body
    exchange.respond(body[: len(body) // 2], length=len(body))
    exchange.reset()


def _closed(exchange: Exchange) -> None:
    """End the connection without a response."""


def _garbage(exchange: Exchange) -> None:
    exchange.send(b"SSH-2.0-OpenSSH_9.6\r\n")


def _continue_then_answer(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    exchange.relay(exchange.upstream())


def _endless_continue(exchange: Exchange) -> None:
    while exchange.wait(0.005):
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def _stalled(exchange: Exchange) -> None:
    exchange.wait(600)


def _stalled_header(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type:")
    exchange.wait(600)


def _stalled_body(exchange: Exchange) -> None:
    exchange.respond(b'{"', length=1000)
    exchange.wait(600)


def _drip(exchange: Exchange) -> None:
    exchange.respond(b"{", length=10_000)
    while exchange.wait(0.05):
        exchange.send(b" ")


def _dripped_header(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while exchange.wait(0.05):
        exchange.send(b"x")


def _endless_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    while exchange.wait(0):
        exchange.send(b"".join(b"X-%d: %s\r\n" % (n, b"y" * 200) for n in range(100)))


def _with_headers(headers: dict[str, str]) -> Callable[[Api, Exchange], None]:
    return lambda api, exchange: exchange.relay(exchange.upstream(), headers)


REFUSED = {
    "aliyun_ehpc": "InvalidAccessKeyId.NotFound",
    "huawei_modelarts": "APIG.0301",
    "qingcloud_hpc": "1200",
}
FORBIDDEN = {"aliyun_ehpc": "Forbidden.RAM", "huawei_modelarts": "ModelArts.0300", "qingcloud_hpc": "1400"}
BROKEN = {"aliyun_ehpc": "InternalError", "huawei_modelarts": "ModelArts.0010", "qingcloud_hpc": "5000"}


def _refused_with_date(date: str) -> Callable[[Api, Exchange], None]:
    def act(api: Api, exchange: Exchange) -> None:
        body, status = api.error(401, REFUSED[api.conn_type], "the key is not accepted")
        exchange.respond(body, status, {"Date": date})

    return act


_SEEN_TASKS = frozenset({"sensor", "log"})
_LIST_TASKS = frozenset({"jobs", "event"})
SLOW_CAUSE = r"no (complete )?(response|answer)|took longer than|deadline|within [\d.]+ s"

PASSING = (
    *map(_page, (200, 403, 404, 503)),
    *map(_redirect, (301, 302, 307, 308)),
    Fault("empty_200", Kind.PASSES, _answer(), "HTTP 200"),
    Fault("empty_404", Kind.PASSES, _answer(b"", 404), "HTTP 404"),
    Fault("empty_403", Kind.PASSES, _answer(b"", 403, kind="text/plain"), "HTTP 403"),
    Fault("status_204", Kind.PASSES, _answer(b"", 204), "HTTP 204"),
    Fault("empty_object", Kind.PASSES, _answer(b"{}"), "HTTP 200"),
    Fault("null", Kind.PASSES, _answer(b"null"), "HTTP 200"),
    Fault("bare_list", Kind.PASSES, _answer(b'["a", 1]'), "HTTP 200"),
    Fault(
        "text", Kind.PASSES, _answer(b"upstream connect error", kind="text/plain"), "upstream connect error"
    ),
    Fault("not_utf8", Kind.PASSES, _answer(b'{"\xff\xfe": "\x80"}'), "HTTP 200"),
    Fault("proxy_407", Kind.PASSES, _answer(HTML, 407, kind="text/html"), "HTTP 407"),
    Fault("proxy_502", Kind.PASSES, _answer(HTML, 502, kind="text/html"), "HTTP 502"),
    Fault("timeout_408", Kind.PASSES, _answer(b"", 408), "HTTP 408"),
    Fault("own_500", Kind.PASSES, _own_error(500, BROKEN, "an internal fault"), "an internal fault"),
    Fault("own_503", Kind.PASSES, _own_error(503, BROKEN, "an internal fault"), "an internal fault"),
    Fault(
        "cluster_status",
        Kind.PASSES,
        _own_error(409, {"aliyun_ehpc": "InvalidClusterStatus"}, "the cluster is not running"),
        "the cluster is not running",
        apis=ALIYUN,
    ),
    Fault("truncated_body", Kind.PASSES, _any_api(_truncated), "was lost|incomplete|cut|HTTP 200"),
    Fault("truncated_json", Kind.PASSES, _any_api(_truncated_json), "HTTP 200"),
    Fault(
        "truncated_gzip", Kind.PASSES, _any_api(_truncated_gzip), "cannot be decompressed|was lost|HTTP 200"
    ),
    Fault("not_gzip", Kind.PASSES, _any_api(_not_gzip), "cannot be decompressed|was lost|HTTP 200"),
    Fault("gzip_bomb", Kind.FINAL, _any_api(partial(_bomb, 64 * MEGABYTE)), "16 MiB"),
    Fault("huge_number", Kind.PASSES, _answer(b"9" * 5000), "HTTP 200"),
    Fault("deep_body", Kind.PASSES, _answer(b"[" * 200_000), "HTTP 200"),
    Fault("reset", Kind.PASSES, _any_api(_reset), "was lost|reset"),
    Fault("reset_in_headers", Kind.PASSES, _any_api(_reset_in_headers), "was lost|reset"),
    Fault("reset_in_body", Kind.PASSES, _any_api(_reset_in_body), "was lost|reset|HTTP 200"),
    Fault("closed", Kind.PASSES, _any_api(_closed), "was lost|closed"),
    Fault("garbage", Kind.PASSES, _any_api(_garbage), "was lost|HTTP"),
    Fault("refused", Kind.PASSES, _any_api(_closed), "Connection refused", setup="refuse"),
    Fault("no_host", Kind.PASSES, _any_api(_closed), "host name", setup="dns", durations=("lasting",)),
    Fault("plain_for_tls", Kind.PASSES, _any_api(_closed), "TLS", setup="plain", durations=("lasting",)),
    Fault("self_signed", Kind.PASSES, _any_api(_closed), "certificate", setup="tls", durations=("lasting",)),
    _throttled("plain", ""),
    _throttled("seconds", "2"),
    _throttled("hour", "3600"),
    _throttled("superscript", "²"),
    _throttled("5000_digits", "9" * 5000),
    _throttled("negative", "-5"),
    _throttled("billion", "1000000000"),
    _throttled("date", "Wed, 21 Oct 2099 07:28:00 GMT"),
    _throttled("nan", "nan"),
    Fault("null_jobs", Kind.PASSES, _any_api(changed(values.null_jobs)), durations=("passing",)),
    # Slow: each attempt lasts as long as an attempt may.
    Fault("stalled", Kind.PASSES, _any_api(_stalled), SLOW_CAUSE, slow=True),
    Fault("stalled_header", Kind.PASSES, _any_api(_stalled_header), SLOW_CAUSE, slow=True),
    Fault("stalled_body", Kind.PASSES, _any_api(_stalled_body), SLOW_CAUSE, slow=True),
    Fault("drip", Kind.PASSES, _any_api(_drip), SLOW_CAUSE, slow=True),
    Fault("dripped_header", Kind.PASSES, _any_api(_dripped_header), SLOW_CAUSE, slow=True),
    Fault("endless_continue", Kind.PASSES, _any_api(_endless_continue), SLOW_CAUSE + "|was lost", slow=True),
    Fault("endless_headers", Kind.PASSES, _any_api(_endless_headers), SLOW_CAUSE + "|was lost", slow=True),
    Fault("huge_body", Kind.FINAL, _any_api(_huge), "16 MiB", slow=True),
    Fault("gzip_bomb_1_gb", Kind.FINAL, _any_api(partial(_bomb, 1024 * MEGABYTE)), "16 MiB", slow=True),
)

HARMLESS = (
    Fault("surrogates", Kind.HARMLESS, _any_api(changed(values.texts("\ud83d")))),
    Fault("nul", Kind.HARMLESS, _any_api(changed(values.texts("\0")))),
    Fault("control_characters", Kind.HARMLESS, _any_api(changed(values.texts("\x1b[2J\r\u2028\u202e")))),
    Fault("long_texts", Kind.HARMLESS, _any_api(changed(values.texts("x" * 20_000)))),
    Fault("nan", Kind.HARMLESS, _any_api(changed(values.numbers(float("nan"))))),
    Fault("infinity", Kind.HARMLESS, _any_api(changed(values.numbers(float("-inf"))))),
    Fault("400_digits", Kind.HARMLESS, _any_api(changed(values.numbers(10**400)))),
    Fault("10_to_the_25", Kind.HARMLESS, _any_api(changed(values.numbers(10**25)))),
    Fault("negative_numbers", Kind.HARMLESS, _any_api(changed(values.numbers(-1)))),
    Fault("superscript_numbers", Kind.HARMLESS, _any_api(changed(values.numbers("²")))),
    Fault("fractions", Kind.HARMLESS, _any_api(changed(values.numbers(1e300)))),
    Fault("true_values", Kind.HARMLESS, _any_api(changed(values.leaves(True)))),
    Fault("null_values", Kind.HARMLESS, _any_api(changed(values.leaves(None)))),
    Fault("empty_texts", Kind.HARMLESS, _any_api(changed(values.leaves("")))),
    Fault("wrong_types", Kind.HARMLESS, _any_api(changed(values.wrong_types))),
    Fault("null_containers", Kind.HARMLESS, _any_api(changed(values.null_containers))),
    Fault("deep_values", Kind.HARMLESS, _any_api(changed(values.leaves(json.loads("[" * 500 + "]" * 500))))),
    Fault("duplicate_keys", Kind.HARMLESS, _any_api(changed(values.duplicate_keys))),
    Fault(
        "malformed_rows",
        Kind.HARMLESS,
        _any_api(changed(values.malformed_rows)),
        tasks=_LIST_TASKS,
    ),
    Fault("long_number", Kind.HARMLESS, _any_api(changed(values.long_number))),
    Fault("deep_field", Kind.HARMLESS, _any_api(changed(values.deep_field))),
    Fault("whole_gzip", Kind.HARMLESS, _any_api(_whole_gzip)),
    Fault("one_continue", Kind.HARMLESS, _any_api(_continue_then_answer)),
    Fault("cookies", Kind.HARMLESS, _with_headers({"Set-Cookie": "session=planted; Path=/"})),
    Fault("date_minus_0000", Kind.HARMLESS, _with_headers({"Date": "Fri, 27 Nov 2026 09:00:00 -0000"})),
    Fault("date_garbage", Kind.HARMLESS, _with_headers({"Date": "Thu, 99 Foo 99999999 99:99:99 ²"})),
    Fault("clock_off", Kind.HARMLESS, _with_headers({"Date": "Fri, 27 Nov 2020 09:00:00 GMT"})),
)

FINAL = (
    Fault(
        "key_refused", Kind.FINAL, _own_error(401, REFUSED, "the key is not accepted"), "key is not accepted"
    ),
    Fault("key_refused_clock", Kind.FINAL, _refused_with_date("Fri, 27 Nov 2020 09:00:00 GMT"), "clock"),
    Fault(
        "key_refused_minus_0000",
        Kind.FINAL,
        _refused_with_date("Fri, 27 Nov 2020 09:00:00 -0000"),
        "key is not accepted",
    ),
    Fault("key_refused_date", Kind.FINAL, _refused_with_date("²"), "key is not accepted"),
    Fault("forbidden", Kind.FINAL, _own_error(403, FORBIDDEN, "no permission"), "no permission"),
)

WRONG = (
    Fault(
        "other_job",
        Kind.WRONG,
        _any_api(changed(values.other_job)),
        "another|other job|987654|f1206|99999999",
        tasks=_SEEN_TASKS,
    ),
    Fault(
        "malformed_records",
        Kind.WRONG,
        _any_api(changed(values.malformed_rows)),
        "no readable (Time|create_time)",
        tasks=frozenset({"audit"}),
    ),
)

FAULTS = (*PASSING, *HARMLESS, *FINAL, *WRONG)
