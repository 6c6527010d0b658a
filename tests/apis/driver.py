"""Runs flows to their ends without a network, as a hook does over one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiError, Together
from airflow_provider_ehpc.apis.job import PartialResult


def run_flow(
    flow: Generator[Any, Any, Any],
    answer: Callable[[ApiCall[Any]], Any],
    told: Callable[[PartialResult], None] = lambda step: None,
    together: Callable[[int], None] = lambda flows: None,
) -> Any:
    """Run a flow and return its result; of flows that go together, the last comes first.

    :param answer: gives a call's result, or raises its error.
    :param told: is given what the flow tells on its way.
    :param together: is given how many flows go together.
    """

    def take(step: Any) -> Any:
        if isinstance(step, PartialResult):
            return told(step)
        if isinstance(step, Together):
            together(len(step.flows))
            return [run_flow(part, answer, told, together) for part in reversed(step.flows)][::-1]
        return answer(step)

    try:
        step = next(flow)
        while True:
            try:
                result = take(step)
            except ApiError as error:
                step = flow.throw(error)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value
