# SPDX-License-Identifier: Apache-2.0
"""Run flows against a function in place of a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse
from tests.apis.driver import run_flow

SAMPLES = Path(__file__).parents[1] / "samples"


def sample(name: str) -> Any:
    """Return a documented response."""
    return json.loads((SAMPLES / name).read_text())


def response(body: Any, status: int = 200, **headers: str) -> ApiResponse:
    """Return a response with a JSON body."""
    return ApiResponse(status, {"content-type": "application/json", **headers}, json.dumps(body).encode())


@dataclass
class Answering:
    """A cloud that responds to each request with the result of ``respond`` and records the requests."""

    respond: Callable[[ApiRequest], Any]
    requests: list[ApiRequest] = field(default_factory=list)

    def run(self, flow: Generator[Any, Any, Any]) -> Any:
        def take(call: ApiCall[Any]) -> Any:
            self.requests.append(call.request)
            return call.read(response(self.respond(call.request)))

        return run_flow(flow, take)
