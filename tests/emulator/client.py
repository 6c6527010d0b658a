# SPDX-License-Identifier: Apache-2.0
"""A client that builds E-HPC's requests itself, so that a test can break any rule of the protocol."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.emulator.accounts import CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator

Change = Callable[[ApiRequest], ApiRequest]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.body)
        return result

    @property
    def refusal(self) -> tuple[int, str]:
        return self.status, self.json["Code"]


class Client:
    """Sends requests signed with the key of an account, by default the emulator's first."""

    def __init__(self, emulator: Emulator, account: CloudAccount | None = None) -> None:
        self.emulator = emulator
        self.account = account or emulator.accounts.first

    def sign(
        self,
        operation: str,
        parameters: Mapping[str, str] | None = None,
        *,
        method: str = "POST",
        version: str = "2024-07-30",
        skew: float = 0,
        nonce: str = "",
        before: Change | None = None,
        after: Change | None = None,
    ) -> ApiRequest:
        """Return a signed request. ``before`` changes it before it is signed, ``after`` afterwards."""
        query = {"ClusterId": self.emulator.cluster_id, **(parameters or {})}
        request = ApiRequest(method, "/", query, {"x-acs-action": operation, "x-acs-version": version})
        request = Acs3Signer(self.account.credentials).sign(
            before(request) if before else request,
            host=urlsplit(self.emulator.url).netloc,
            now=datetime.now(UTC) + timedelta(seconds=skew),
            nonce=nonce or uuid.uuid4().hex,
        )
        return after(request) if after else request

    def send(self, operation: str, parameters: Mapping[str, str] | None = None, **manner: Any) -> Answer:
        return self.transmit(self.sign(operation, parameters, **manner))

    def transmit(self, request: ApiRequest) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.emulator.url).netloc, timeout=30)
        try:
            connection.request(
                request.method, request.target, body=request.body, headers=dict(request.headers)
            )
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def call(self, operation: str, **parameters: str) -> dict[str, Any]:
        answer = self.send(operation, parameters)
        assert answer.status == 200, answer.body
        return answer.json

    def refusal(self, operation: str, **parameters: str) -> tuple[int, str]:
        return self.send(operation, parameters).refusal

    def create(self, command: str, *, name: str = "job", **spec: Any) -> str:
        result = self.call("CreateJob", JobName=name, JobSpec=json.dumps({"CommandLine": command, **spec}))
        job_id: str = result["JobId"]
        return job_id

    def info(self, job_id: str) -> dict[str, Any]:
        info: dict[str, Any] = self.call("GetJob", JobId=job_id)["JobInfo"]
        return info

    def listed(self, **parameters: str) -> list[str]:
        return [job["JobSpec"]["Id"] for job in self.call("ListJobs", **parameters)["Jobs"]]


def with_header(name: str, value: str) -> Change:
    return lambda request: replace(request, headers={**request.headers, name: value})


def without_header(name: str) -> Change:
    return lambda request: replace(
        request, headers={key: value for key, value in request.headers.items() if key != name}
    )
