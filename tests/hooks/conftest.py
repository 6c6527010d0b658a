# SPDX-License-Identifier: Apache-2.0
"""A server that answers whatever a test wants, for what the emulator rightly never does."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_ehpc.hooks import transport

JOB = {"RequestId": "R-1", "Success": True, "JobInfo": {"JobId": "12.manager", "State": "RUNNING"}}
KEY = "LTAI5tPlantedKeyId"
SECRET = "PlantedSecret&With+Signs"


@dataclass
class Seen:
    """A request as the server got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Endpoint:
    """The server: its answer can be replaced, its requests are kept."""

    port: int
    scheme: str = "http"
    answer: Answer = field(default=lambda handler: send_json(handler, JOB))
    seen: list[Seen] = field(default_factory=list)
    ca_file: Path | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def connection(self) -> dict[str, Any]:
        return {
            "conn_type": "aliyun_ehpc",
            "login": KEY,
            "password": SECRET,
            "host": self.url,
            "extra": {"region": "cn-hangzhou", "cluster_id": "ehpc-hz-1"},
        }


def send_json(handler: BaseHTTPRequestHandler, told: Any, status: int = 200) -> None:
    """Answer with JSON."""
    send_bytes(handler, json.dumps(told).encode(), status)


def send_bytes(
    handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, kind: str = "application/json"
) -> None:
    """Answer with a whole body."""
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def endpoint() -> Generator[Endpoint, None, None]:
    """A server that speaks HTTP."""
    yield from _serve(None)


@pytest.fixture
def tls_endpoint(tmp_path: Path) -> Generator[Endpoint, None, None]:
    """A server that speaks TLS, with a certificate that only its own ``ca_file`` vouches for."""
    yield from _serve(_certificate(tmp_path))


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies and certificates of whoever runs the tests have no part in them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    transport.environment_proxy.cache_clear()


def _serve(certificate: Path | None) -> Generator[Endpoint, None, None]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            served.seen.append(Seen(self.command, self.path, headers, body))
            served.answer(self)

        do_GET = do_CONNECT = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the tests read ``seen``."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    # A client that gives up in the middle is what some of the tests are about.
    server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    served = Endpoint(server.server_address[1], "https" if certificate else "http", ca_file=certificate)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()


def _certificate(folder: Path) -> Path:
    """Write a key and its self-signed certificate for 127.0.0.1 into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file
