# SPDX-License-Identifier: Apache-2.0
"""A retry policy for tasks that submit jobs (Airflow 3.3)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.compat import retry_policies
from airflow_provider_ehpc.diagnosis import Cause
from airflow_provider_ehpc.escalation import amount, load_escalation, save_escalation, scaled
from airflow_provider_ehpc.exceptions import JobFailure

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

_AGAIN = frozenset({Cause.PREEMPTED, Cause.NODE_FAILURE, Cause.NO_CAPACITY})
"""Causes that may not occur in another run."""
_MORE = {Cause.OUT_OF_MEMORY: "memory", Cause.WALL_TIME_EXCEEDED: "wall_time"}
"""Causes that a larger value of an argument removes."""
_airflow: Any = retry_policies()
_Base: Any = _airflow.RetryPolicy if _airflow else object


class HpcRetryPolicy(_Base):  # type: ignore[misc]
    """Decide by the diagnosis of a failed job whether its task is retried.

    * Preemption, node failure and no capacity: the job is submitted again after ``delay``. On Airflow 3.4
      that uses none of the task's ``retries``.
    * Out of memory and wall time exceeded: the job is submitted again with ``escalate`` times the ``memory``
      or ``wall_time`` that it had, until ``limits`` are reached.
    * Any other failure of a job: no retry, unless ``otherwise`` decides.
    * Any other exception: ``otherwise`` decides, and without it the task's ``retries``.

    ::

        SubmitJobOperator(..., memory="16GB", wall_time="02:00:00", retries=4,
            retry_policy=HpcRetryPolicy(escalate={"memory": 2, "wall_time": 1.5}, limits={"memory": "128GB"}))

    :param escalate: the factors for ``memory`` and ``wall_time``, above 1.
    :param limits: the largest ``memory`` and ``wall_time`` to request; default: 16 times the argument.
    :param delay: the time before a job is submitted again if it lost its nodes or found no capacity; default:
        the task's ``retry_delay``.
    :param max_reschedules: how often that may happen in one try without using up ``retries`` (Airflow 3.4).
    :param otherwise: another policy, which decides if this one does not.
    :raises InvalidArgument: naming the argument that is wrong.
    :raises RuntimeError: if this version of Airflow has no retry policies.
    """

    def __init__(
        self,
        *,
        escalate: Mapping[str, float] | None = None,
        limits: Mapping[str, Any] | None = None,
        delay: timedelta | None = None,
        max_reschedules: int = 20,
        otherwise: Any | None = None,
    ) -> None:
        if _airflow is None:
            raise RuntimeError(
                "HpcRetryPolicy needs Airflow 3.3 or newer: older versions have no retry_policy"
            )
        self.escalate = {name: _factor(name, value) for name, value in (escalate or {}).items()}
        self.limits = dict(limits or {})
        for name, value in self.limits.items():
            _check_name("limits", name)
            amount(name, value)
        if max_reschedules < 1:
            raise InvalidArgument(f"max_reschedules: {max_reschedules} is below 1")
        self.delay = delay
        self.max_reschedules = max_reschedules
        self.otherwise = otherwise

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> Any:
        """Return the decision for a task that failed."""
        diagnosis = exception.diagnosis if isinstance(exception, JobFailure) else None
        cause = diagnosis.cause if diagnosis else Cause.UNKNOWN
        if cause in _AGAIN:
            return self._again(str(diagnosis), context)
        if (argument := _MORE.get(cause)) and argument in self.escalate:
            return self._escalated(argument, str(cause), context)
        if self.otherwise is not None:
            decision = self.otherwise.evaluate(exception, try_number, max_tries, context)
            if decision.action is not _airflow.RetryAction.DEFAULT:
                return decision
        if isinstance(exception, JobFailure):
            return _airflow.RetryDecision.fail(reason=f"another run would fail in the same way ({cause})")
        return _airflow.RetryDecision.default()

    def _again(self, reason: str, context: Context | None) -> Any:
        saved = load_escalation(context)
        save_escalation(context, {**saved, "runs": saved.get("runs", 1) + 1})
        if hasattr(_airflow.RetryDecision, "reschedule"):
            return _airflow.RetryDecision.reschedule(
                self.delay, max_reschedules=self.max_reschedules, reason=reason
            )
        return _airflow.RetryDecision.retry(self.delay, reason=reason)

    def _escalated(self, argument: str, cause: str, context: Context | None) -> Any:
        value = getattr((context or {}).get("task"), argument, None)
        if value is None:
            return _airflow.RetryDecision.fail(
                reason=f"{cause}: {argument}= is not set, so it cannot be escalated"
            )
        saved = load_escalation(context)
        limit = self.limits.get(argument)
        now = scaled(argument, value, saved.get(argument, 1.0), limit)
        factor = saved.get(argument, 1.0) * self.escalate[argument]
        more = scaled(argument, value, factor, limit)
        if amount(argument, more) <= amount(argument, now):
            return _airflow.RetryDecision.fail(reason=f"{cause}: {argument}={now} is the limit")
        changed = {**saved, argument: factor, "runs": saved.get("runs", 1) + 1}
        if limit is not None:
            changed["limits"] = {**saved.get("limits", {}), argument: _plain(limit)}
        if not save_escalation(context, changed):
            return _airflow.RetryDecision.fail(
                reason=f"{cause}: the escalation of {argument}= cannot be saved, so no retry would help"
            )
        return _airflow.RetryDecision.retry(reason=f"{cause}: the next try requests {argument}={more}")


def _plain(limit: Any) -> Any:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def _check_name(argument: str, name: str) -> None:
    if name not in _MORE.values():
        raise InvalidArgument(f"{argument}: {name!r} cannot be escalated; memory and wall_time can")


def _factor(name: str, value: float) -> float:
    _check_name("escalate", name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 < value < math.inf:
        raise InvalidArgument(f"escalate: the factor of {name} must be a number above 1, got {value!r}")
    return float(value)
