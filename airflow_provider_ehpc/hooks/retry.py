# SPDX-License-Identifier: Apache-2.0
"""The retry policy: which calls are retried, and when, by both transports.

tenacity (a dependency of the HTTP provider) drives it. Only transient errors are retried, and a write only if
the request was certainly never received, because none of these clouds takes an idempotency token.
"""

from __future__ import annotations

import logging
from typing import Any

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_random_exponential

from airflow_provider_ehpc.apis.call import ApiCall, ApiError, AuthenticationFailed, NotReached, Throttled

ATTEMPTS = 5
LONGEST_RETRY = 90.0
"""Seconds after the first attempt within which another may begin. A wait tolerates longer outages."""
LONGEST_PAUSE = 60.0
"""Seconds. If the cloud prescribes a longer pause, the call is not retried; a wait polls again later."""

log = logging.getLogger(__name__)
# Full jitter, as in "Exponential Backoff And Jitter" (AWS Architecture Blog): clients that failed together
# do not come back together.
_backoff = wait_random_exponential(multiplier=0.5, max=20)


def repeatable(call: ApiCall[Any], error: BaseException) -> bool:
    """Return True if a retry of ``call`` after ``error`` is safe and may help."""
    if isinstance(error, AuthenticationFailed) or not isinstance(error, ApiError) or not error.transient:
        return False
    if error.retry_after is not None and error.retry_after > LONGEST_PAUSE:
        return False
    # Throttled calls are rejected at the gateway and had no effect.
    return not call.writes or isinstance(error, NotReached | Throttled)


def retry_arguments(call: ApiCall[Any]) -> dict[str, Any]:
    """Return the arguments for ``tenacity.Retrying`` and ``tenacity.AsyncRetrying``."""
    return {
        "retry": retry_if_exception(lambda error: repeatable(call, error)),
        "stop": stop_after_attempt(ATTEMPTS) | stop_before_delay(LONGEST_RETRY),
        "wait": _wait,
        "before_sleep": _log_retry,
        "reraise": True,
    }


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, ApiError) else None
    return max(asked or 0.0, _backoff(state))


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    log.debug("%s; attempt %d of %d, retrying in %.1f s", error, state.attempt_number, ATTEMPTS, pause)
