# SPDX-License-Identifier: Apache-2.0
"""Define the exceptions that tasks raise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis import call
from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.compat import AirflowException, AirflowFailException

if TYPE_CHECKING:
    from airflow_provider_ehpc.diagnosis import Diagnosis


class JobFailure(AirflowException):
    """The job did not end in a target state.

    :param diagnosis: the diagnosis of the failure; None if there is none.
    """

    def __init__(self, message: str = "", diagnosis: Diagnosis | None = None) -> None:
        super().__init__(message)
        self.diagnosis = diagnosis
        self.job: Mapping[str, Any] = {}
        """The last status of the job, as far as it is known."""

    @property
    def explained(self) -> bool:
        """Return True if the diagnosis names a cause."""
        return bool(self.diagnosis and self.diagnosis.evidence)


class JobFailed(JobFailure, AirflowFailException):
    """The job did not end in a target state. No retry is used: waiting again changes nothing."""


class JobFailedRetryably(JobFailure):
    """The job did not end in a target state, and a retry may submit it again: the failed members of an array,
    or a job about which the task's ``retry_policy`` decides.

    Airflow does not consult a policy about an ``AirflowFailException``, such as :class:`JobFailed`.
    """


class JobNotFound(AirflowFailException):
    """The job is unknown, and the grace period after a submission is over."""


class JobTimedOut(AirflowException):
    """The wait timed out before the job ended. The job continues; a retry resumes the wait."""


class TaskKilled(AirflowException):
    """Airflow ended the task while it was waiting."""


class SubmissionUnknown(AirflowException):
    """It is unknown whether the job was submitted. It is not submitted again; a retry searches for it."""


class OperationsForbidden(AirflowFailException):
    """Operations violated a rule of the audit. The records are written, and a retry would find the same."""


def _without_retries(kind: type[ApiError]) -> type[ApiError]:
    """Return the error of the same name that also ends a task without retries."""
    return type(
        kind.__name__, (kind, AirflowFailException), {"__module__": __name__, "__doc__": kind.__doc__}
    )


# Another request would not help, and clouds lock keys that are rejected repeatedly.
AuthenticationFailed = _without_retries(call.AuthenticationFailed)
PermissionDenied = _without_retries(call.PermissionDenied)


def for_airflow(error: ApiError) -> ApiError:
    """Return the error for a task to raise: a rejected key or a missing permission ends it without
    retries."""
    for kind in (AuthenticationFailed, PermissionDenied):
        if isinstance(error, kind.__bases__[0]) and not isinstance(error, kind):
            final = kind(*error.args)
            final.__dict__.update(error.__dict__)
            return final
    return error


@contextmanager
def without_useless_retries() -> Iterator[None]:
    """Raise each ``ApiError`` as :func:`for_airflow` returns it."""
    try:
        yield
    except ApiError as error:
        final = for_airflow(error)
        if final is error:
            raise
        raise final.with_traceback(error.__traceback__) from error.__cause__
