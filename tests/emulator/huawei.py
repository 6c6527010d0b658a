# SPDX-License-Identifier: Apache-2.0
"""A client that builds Huawei Cloud's requests itself, so that a test can break any rule of the protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.apis.huawei.signing import SdkHmacSigner
from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.huawei.protocol import PROJECT_ID
from airflow_provider_ehpc.emulator.server import Emulator
from tests.emulator.client import Answer, Change, Client

V2 = f"/v2/{PROJECT_ID}/training-jobs"
V1 = f"/v1/{PROJECT_ID}/training-jobs"
SEARCH = f"/v2/{PROJECT_ID}/training-job-searches"


class HuaweiClient:
    """Sends requests signed with the key of an account, by default the emulator's first."""

    def __init__(self, emulator: Emulator, account: CloudAccount | None = None) -> None:
        self.emulator = emulator
        self.account = account or emulator.accounts.first
        self._wire = Client(emulator)

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        skew: float = 0,
        token: str = "",
        after: Change | None = None,
    ) -> Answer:
        """Send a request, with ``token`` in place of a signature. ``after`` changes the signed request."""
        texts = {name: str(value) for name, value in (query or {}).items()}
        headers = {"content-type": "application/json"}
        request = ApiRequest(method, path, texts, headers, b"" if body is None else json.dumps(body).encode())
        if token:
            request = ApiRequest(method, path, texts, {**headers, "x-auth-token": token}, request.body)
        else:
            request = SdkHmacSigner(self.account.credentials).sign(
                request,
                host=urlsplit(self.emulator.url).netloc,
                now=datetime.now(UTC) + timedelta(seconds=skew),
                nonce="",
            )
        return self._wire.transmit(after(request) if after else request)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.send("GET", path, query)
        assert answer.status == 200, answer.body
        return answer.json

    def refusal(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        answer = self.send(method, path, query, body)
        return answer.status, answer.json["error_code"]

    def body(self, name: str, command: str, **resource: Any) -> dict[str, Any]:
        """Return the body that creates a job."""
        return {
            "kind": "job",
            "metadata": {"name": name},
            "algorithm": {"engine": {"image_url": "team/image:1"}, "command": command},
            "spec": {"resource": {"flavor_id": "modelarts.vm.cpu.2u", "node_count": 1, **resource}},
        }

    def create(self, name: str, command: str, **resource: Any) -> str:
        answer = self.send("POST", V2, body=self.body(name, command, **resource))
        assert answer.status == 201, answer.body
        job_id: str = answer.json["metadata"]["id"]
        return job_id

    def version(self, job_id: str) -> str:
        """Return the path of a job in API v1."""
        number = self.emulator.job(job_id).number
        row = next(row for row in self.get(V1, per_page=1000)["jobs"] if row["job_id"] == number)
        return f"{V1}/{row['job_id']}/versions/{row['version_id']}"
