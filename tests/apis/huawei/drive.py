"""Drives calls and flows against a cloud that is a function, without HTTP."""

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
    """Return a sample answer."""
    return json.loads((SAMPLES / f"{name}.json").read_text())


def answer(told: Any = None, status: int = 200, **headers: str) -> ApiResponse:
    """Return an answer with ``told`` as its JSON body; without a body for None."""
    body = b"" if told is None else json.dumps(told, ensure_ascii=False).encode()
    return ApiResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def refusal(code: str, status: int = 400, message: str = "refused") -> ApiResponse:
    """Return an answer that refuses, in the service's form."""
    return answer({"error_code": code, "error_msg": message}, status)


def drive(flow: Generator[ApiCall[Any], Any, Any], cloud: Cloud) -> Any:
    """Run a flow to its end, as a hook does, and return its result."""
    return run_flow(flow, lambda call: call.read(cloud(call.request)))


class Recorder:
    """A cloud that keeps the requests it got. ``answers`` maps a path's end to an answer or a function."""

    def __init__(self, answers: dict[str, ApiResponse | Cloud]) -> None:
        self.answers = answers
        self.requests: list[ApiRequest] = []

    def __call__(self, request: ApiRequest) -> ApiResponse:
        self.requests.append(request)
        for ending, told in self.answers.items():
            if request.path.endswith(ending):
                return told if isinstance(told, ApiResponse) else told(request)
        raise AssertionError(f"nobody expected {request.method} {request.target}")

    def asked(self, ending: str) -> list[ApiRequest]:
        """Return the requests whose path ends so."""
        return [request for request in self.requests if request.path.endswith(ending)]
