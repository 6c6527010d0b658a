"""Runs a flow against a function that answers its requests, as a hook would against a cloud."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_ehpc.apis.call import ApiError, ApiRequest, ApiResponse
from airflow_provider_ehpc.apis.job import Told

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
        try:
            call = next(flow)
            while True:
                if isinstance(call, Told):
                    call = flow.send(None)
                    continue
                self.requests.append(call.request)
                try:
                    result = call.read(response(self.answer(call.request)))
                except ApiError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(result)
        except StopIteration as end:
            return end.value
