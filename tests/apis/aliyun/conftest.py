# SPDX-License-Identifier: Apache-2.0
"""Run flows without a network: each test responds to the requests itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse, Flow
from tests.apis.driver import run_flow

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def sample() -> Callable[[str], ApiResponse]:
    """Return the documented sample response with this name, as the cloud would send it."""

    def load(name: str) -> ApiResponse:
        return ApiResponse(200, {"content-type": "application/json"}, (SAMPLES / f"{name}.json").read_bytes())

    return load


@pytest.fixture
def reply() -> Callable[..., ApiResponse]:
    """Return a response with a JSON body."""

    def make(
        fields: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> ApiResponse:
        body = json.dumps(dict(fields)).encode()
        return ApiResponse(status, {"content-type": "application/json", **(headers or {})}, body)

    return make


class Driven:
    """The result of a flow and the requests that it made."""

    def __init__(self, flow: Flow[Any], cloud: Callable[[ApiRequest], ApiResponse]) -> None:
        self.requests: list[ApiRequest] = []
        self.calls: list[ApiCall[Any]] = []
        self.result = self._run(flow, cloud)

    @property
    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    def _run(self, flow: Flow[Any], cloud: Callable[[ApiRequest], ApiResponse]) -> Any:
        def take(call: ApiCall[Any]) -> Any:
            self.calls.append(call)
            self.requests.append(call.request)
            return call.read(cloud(call.request))

        return run_flow(flow, take)


@pytest.fixture
def drive() -> Callable[[Flow[Any], Callable[[ApiRequest], ApiResponse]], Driven]:
    """Run a flow against a function that responds to requests."""
    return Driven
