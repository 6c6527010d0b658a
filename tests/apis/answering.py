"""Runs a flow against a function that answers its requests, as a hook would against a cloud."""

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
    """Return a documented answer."""
    return json.loads((SAMPLES / name).read_text())


def response(told: Any, status: int = 200, **headers: str) -> ApiResponse:
    """Return an answer whose body is ``told`` as JSON."""
    return ApiResponse(status, {"content-type": "application/json", **headers}, json.dumps(told).encode())


@dataclass
class Answering:
    """Answers every request by ``answer`` and keeps the requests."""

    answer: Callable[[ApiRequest], Any]
    requests: list[ApiRequest] = field(default_factory=list)

    def run(self, flow: Generator[Any, Any, Any]) -> Any:
        def take(call: ApiCall[Any]) -> Any:
            self.requests.append(call.request)
            return call.read(response(self.answer(call.request)))

        return run_flow(flow, take)
