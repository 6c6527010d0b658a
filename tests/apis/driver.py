# SPDX-License-Identifier: Apache-2.0
"""Run flows without a network."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from airflow_provider_ehpc.apis.call import ApiCall, ApiError, Together
from airflow_provider_ehpc.apis.job import PartialResult


def run_flow(
    flow: Generator[Any, Any, Any],
    run_call: Callable[[ApiCall[Any]], Any],
    on_partial: Callable[[PartialResult], None] = lambda step: None,
    on_together: Callable[[int], None] = lambda flows: None,
) -> Any:
    """Run a flow and return its result. Concurrent flows are run in reverse order.

    :param run_call: returns a call's result, or raises its error.
    :param on_partial: called with each partial result.
    :param on_together: called with the number of flows in each group of concurrent flows.
    """

    def take(step: Any) -> Any:
        if isinstance(step, PartialResult):
            return on_partial(step)
        if isinstance(step, Together):
            on_together(len(step.flows))
            return [run_flow(part, run_call, on_partial, on_together) for part in reversed(step.flows)][::-1]
        return run_call(step)

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
