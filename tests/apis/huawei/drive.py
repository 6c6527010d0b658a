# SPDX-License-Identifier: Apache-2.0
"""Run calls and flows against a function in place of a cloud, without HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiRequest, ApiResponse
from tests.apis.driver import run_flow

SAMPLES = Path(__file__).parents[2] / "samples" / "huawei"

Cloud = Callable[[ApiRequest], ApiResponse]


def sample(name: str) -> Any:
    """Return a sample response."""
    return json.loads((SAMPLES / f"{name}.json").read_text())


def response(body: Any = None, status: int = 200, **headers: str) -> ApiResponse:
    """Return a response with a JSON body; without a body for None."""
    content = b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    return ApiResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def rejection(code: str, status: int = 400, message: str = "rejected") -> ApiResponse:
    """Return a response with an error of the service."""
    return response({"error_code": code, "error_msg": message}, status)


def drive(flow: Generator[ApiCall[Any], Any, Any], cloud: Cloud) -> Any:
    """Run a flow and return its result."""
    return run_flow(flow, lambda call: call.read(cloud(call.request)))


class Recorder:
    """A cloud that records its requests. ``responses`` maps a path's end to a response or a function."""

    def __init__(self, responses: dict[str, ApiResponse | Cloud]) -> None:
        self.responses = responses
        self.requests: list[ApiRequest] = []

    def __call__(self, request: ApiRequest) -> ApiResponse:
        self.requests.append(request)
        for ending, found in self.responses.items():
            if request.path.endswith(ending):
                return found if isinstance(found, ApiResponse) else found(request)
        raise AssertionError(f"unexpected request: {request.method} {request.target}")

    def requests_to(self, ending: str) -> list[ApiRequest]:
        """Return the requests whose path ends with ``ending``."""
        return [request for request in self.requests if request.path.endswith(ending)]
