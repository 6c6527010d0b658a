# SPDX-License-Identifier: Apache-2.0
"""A client that builds QingCloud HPC's requests itself and signs them as documented."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator

CLUSTER_ID = "ehpc-emulator"
ZONE = "jinan1a"
Change = Callable[[dict[str, str]], None]


def enc(text: str) -> str:
    return quote(text, safe="-_.~")


def documented_signature(secret: str, method: str, path: str, query: str, body: bytes) -> str:
    text = f"{method}\n{path}/\n{query}\n{hashlib.md5(body).hexdigest()}"
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()).decode()


class QingCloudClient:
    """Sends signed requests. A test can break any rule of the protocol."""

    def __init__(self, emulator: Emulator, account: CloudAccount | None = None) -> None:
        self.emulator = emulator
        self.account = account or emulator.accounts.first

    def parameters(self, *, age: float = 0, **parameters: object) -> dict[str, str]:
        signed_at = datetime.now(UTC) - timedelta(seconds=age)
        return {
            "access_key_id": self.account.access_key_id,
            "signature_method": "HmacSHA256",
            "signature_version": "1",
            "timestamp": signed_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "version": "1",
            "zone": ZONE,
            **{name: str(value) for name, value in parameters.items()},
        }

    def target(
        self,
        path: str,
        parameters: Mapping[str, str],
        body: bytes = b"",
        *,
        sign: Callable[[str, str, str, str, bytes], str] = documented_signature,
        encodings: int = 2,
    ) -> str:
        query = "&".join(f"{enc(name)}={enc(parameters[name])}" for name in sorted(parameters))
        method = "POST" if body else "GET"
        signature = sign(self.account.secret, method, path, query, body)
        for _ in range(encodings):
            signature = quote_plus(signature)
        return f"{path}?{query}&signature={signature}"

    def send(self, target: str, body: bytes = b"", method: str = "") -> dict[str, Any]:
        connection = http.client.HTTPConnection(urlsplit(self.emulator.url).netloc, timeout=30)
        try:
            connection.request(method or ("POST" if body else "GET"), target, body=body or None)
            response = connection.getresponse()
            assert response.status == 200
            result: dict[str, Any] = json.loads(response.read())
            return result
        finally:
            connection.close()

    def get(self, action: str, **parameters: object) -> dict[str, Any]:
        return self.send(self.target(f"/api/{action}", self.parameters(**parameters)))

    def post(self, action: str, **body: object) -> dict[str, Any]:
        content = json.dumps({"zone": ZONE, "cluster_id": CLUSTER_ID, **body}).encode()
        return self.send(self.target(f"/api/{action}", self.parameters(), content), content)

    def submit(self, command: str, **job: object) -> str:
        fields = {"name": "job", "run_user": "alice", "core_limit": 1, "submit_type": 1, **job}
        result = self.post("job/submitJob", cmd_line=command, **fields)
        assert result["ret_code"] == 0, result
        job_id: str = result["hpcjob_uuid"]
        return job_id

    def operations(self, **filters: object) -> list[dict[str, Any]]:
        result = self.get("operation", **{"limit": 100, "reverse": 0, **filters})
        assert result["ret_code"] == 0, result
        rows: list[dict[str, Any]] = result["job_set"]
        return rows

    def ids(self, **filters: object) -> list[str]:
        return [row["job_id"] for row in self.operations(**filters)]
