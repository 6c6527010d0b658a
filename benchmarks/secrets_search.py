# SPDX-License-Identifier: Apache-2.0
"""Search everything that Airflow and the emulator wrote, at DEBUG, for secrets that are known.

Run as ``python -m benchmarks.secrets_search``. A whole Airflow works with a connection whose key, secret,
security token, proxy password and job passwords hold awkward characters, against a server that first works
and then sends back what it was sent, in errors of several kinds and encodings. Then all files that were
written, the database, and what the processes printed are searched for every spelling of every secret. Prints
how many bytes that were; exits with 1 if there is a hit.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import html
import io
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, quote_plus

from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.emulator.store import Store
from demo.local_airflow import LocalAirflow
from tests.faults.server import Exchange, FaultServer

DAGS = Path(__file__).parent / "secret_dags"
KEY = 'LTAI5t"pl\\anted'
SECRET = 'plänted "secret"\\with%41+&/=数据'
TOKEN = 'CAIS"planted\\token+%25/==&x'
PASSWORD = "pl@nted 'job' \"pässword\"\\n+%<1>&"
URL_PASSWORD = "planted%22url+password"
PROXY_PASSWORD = "planted-proxy%22password"
EVERY_SECRET = {
    "secret": SECRET,
    "token": TOKEN,
    "job password": PASSWORD,
    "password in a URL": URL_PASSWORD,
    "proxy password": PROXY_PASSWORD,
}


def spellings(secret: str) -> Iterator[bytes]:
    """Yield every form in which a library, a server or a database may write a text."""
    texts = {secret, repr(secret)[1:-1], secret.encode("unicode_escape").decode()}
    for ascii in (True, False):
        once = json.dumps(secret, ensure_ascii=ascii)[1:-1]
        texts |= {once, json.dumps(once, ensure_ascii=ascii)[1:-1], once.replace("/", "\\/")}
    for text in list(texts):
        texts |= {quote(text), quote(text, safe=""), quote(text, safe="-_.~"), quote_plus(text)}
        texts |= {html.escape(text), html.escape(text, quote=False)}
    for text in list(texts):
        texts |= {quote(text, safe="-_.~"), quote(text, safe="-_.~").lower()}
    yield from {text.encode() for text in texts}
    yield secret.encode("utf-16-le")
    raw = secret.encode()
    yield raw.hex().encode()
    for shift in range(3):
        # In Base64, the same bytes look different behind zero, one or two others; both ends depend on more.
        encoded = base64.b64encode(b"\0" * shift + raw).rstrip(b"=")
        yield encoded[4 if shift else 0 : -1]
        yield encoded[4 if shift else 0 : -1].replace(b"+", b"-").replace(b"/", b"_")


def _echoed(exchange: Exchange) -> str:
    request = exchange.request
    headers = " ".join(f"{name}: {value}" for name, value in request.headers.items())
    # A job's password is known to who submits it; of another's, nothing can be recognised.
    password = PASSWORD if request.headers.get("x-acs-action") == "CreateJob" else ""
    return f"{request.target} {headers} {SECRET} {TOKEN} {password} {KEY}"


def _error(code: str, status: int) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        inner = json.dumps({"JobSpec": _echoed(exchange)}, ensure_ascii=False)
        message = f"the request {inner} is refused: {json.dumps(inner)}"
        body = {"RequestId": "R-1", "Code": code, "Message": message}
        exchange.respond(json.dumps(body).encode(), status)

    return act


def _page(status: int) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        echoed = _echoed(exchange)
        text = f"<p>{html.escape(echoed)}</p><p>{quote(echoed)}</p><p>{quote_plus(echoed)}</p>"
        exchange.respond(text.encode(), status, kind="text/html")

    return act


def _redirect(exchange: Exchange) -> None:
    exchange.respond(b"", 302, {"Location": "/elsewhere?" + quote(_echoed(exchange))})


def _wrong_field(exchange: Exchange) -> None:
    exchange.respond(json.dumps({"RequestId": "R", "JobInfo": _echoed(exchange), "Jobs": SECRET}).encode())


def _state(exchange: Exchange) -> None:
    exchange.respond(json.dumps({"Success": False, "Message": _echoed(exchange)}).encode())


def _cut(exchange: Exchange) -> None:
    exchange.respond(b'{"Message": ' + json.dumps(_echoed(exchange)).encode(), length=1_000_000)


MODES: dict[str, Callable[[Exchange], None] | None] = {
    "healthy": None,
    "an error of the API": _error("InvalidParams", 400),
    "a refused signature": _error("SignatureDoesNotMatch", 403),
    "an internal error": _error("InternalError", 500),
    "a page with 200": _page(200),
    "a page with 403": _page(403),
    "a redirect": _redirect,
    "a wrong field": _wrong_field,
    "a failure with 200": _state,
    "half a response": _cut,
}


def work(folder: Path, modes: list[str]) -> Path:
    """Let an Airflow work with the secrets; return the folder of everything that was written."""
    written = folder / "written"
    cloud = folder / "cloud"
    cloud.mkdir(parents=True)
    store = Store(cloud / "state.sqlite")
    account = {"access_key_id": KEY, "secret": SECRET, "security_token": TOKEN, "denied": []}
    store.set_fact("accounts", [{**account, "expires_at": time.time() + 86400}])
    store.close()
    output = io.StringIO()
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        Emulator(cloud, scheduler="timetable") as emulator,
    ):
        server = FaultServer(emulator.url)
        server.listen()
        now = datetime.now(UTC).replace(microsecond=0)
        planted = {
            "job_id": emulator.submit("run=3 lines=20"),
            "password": PASSWORD,
            "folder": f"file://{written / 'audit'}",
            "start": (now - timedelta(hours=2)).isoformat(),
            "end": (now - timedelta(hours=1)).isoformat(),
        }
        connection = {**emulator.connection, "host": server.url}
        with_url = {**connection, "host": f"http://me:{URL_PASSWORD}@127.0.0.1:1"}
        with_url["extra"] = {**connection["extra"], "proxy": f"http://me:{PROXY_PASSWORD}@127.0.0.1:1"}
        environment = {
            "AIRFLOW_CONN_PLANTED": json.dumps(connection),
            "AIRFLOW_CONN_PLANTED_URL": json.dumps(with_url),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
            "EHPC_PLANTED": json.dumps(planted),
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        }
        with LocalAirflow(written / "airflow", DAGS, environment, parallelism=8) as airflow:
            for mode in modes:
                server.act = MODES[mode]
                run_id = airflow.trigger("planted")
                airflow.wait_for_run("planted", run_id, timeout=180)
                tasks = airflow.get(f"/dags/planted/dagRuns/{run_id}/taskInstances")["task_instances"]
                failed = sorted(task["task_id"] for task in tasks if task["state"] != "success")
                print(f"{mode}: failed {', '.join(failed)}", file=sys.__stdout__, flush=True)
                if mode == "healthy" and failed != ["url"]:
                    raise RuntimeError("the planted secrets were not accepted: nothing would be tested")
    (written / "emulator.out").write_text(output.getvalue())
    _without_keys(cloud, written)
    return written


def _without_keys(cloud: Path, written: Path) -> None:
    """Move the emulator's files to the others, but for the keys that it has to know."""
    database = cloud / "state.sqlite"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        dump = "\n".join(line for line in connection.iterdump() if "'accounts'" not in line)
    for leftover in cloud.glob("state.sqlite*"):
        leftover.unlink()
    (cloud / "state.sql").write_text(dump)
    cloud.rename(written / "cloud")


def search(folder: Path) -> tuple[int, list[str]]:
    """Search all files, and the texts of databases; return how many bytes that were, and the hits."""
    wanted = {spelling: name for name, secret in EVERY_SECRET.items() for spelling in spellings(secret)}
    searched = 0
    hits = []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        contents = [path.read_bytes()]
        if path.suffix == ".db":
            with contextlib.closing(sqlite3.connect(path)) as connection:
                contents.append("\n".join(connection.iterdump()).encode(errors="surrogateescape"))
        for content in contents:
            searched += len(content)
            for spelling, name in wanted.items():
                if (at := content.find(spelling)) >= 0:
                    around = content[max(0, at - 60) : at + len(spelling) + 20]
                    hits.append(f"{path.relative_to(folder)}: {name}, as {around!r}")
    return searched, hits


def main() -> int:
    """Work, search and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.secrets_search", description=__doc__)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--keep", type=Path, help="a folder for what was written")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        written = work(folder, arguments.modes)
        searched, hits = search(written)
    print(f"{searched:,} bytes searched for {len(EVERY_SECRET)} secrets: {len(hits)} hits")
    for hit in hits[:50]:
        print(f"  {hit}")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main())
