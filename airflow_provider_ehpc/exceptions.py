"""How a task ends when the job did not end as wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow_provider_ehpc.apis import call
from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.compat import AirflowException, AirflowFailException


class JobFailed(AirflowFailException):
    """The job reached an end that was not asked for. No retry is used: waiting again changes nothing."""


class JobNotFound(AirflowFailException):
    """The cloud knows no such job, and the grace after a submission is over."""


class JobTimedOut(AirflowException):
    """The job had not ended when the time for waiting was over. It goes on; a retry takes up the wait."""


class TaskKilled(AirflowException):
    """Airflow told the task to end while it was waiting."""


class OperationsForbidden(AirflowFailException):
    """Operations broke a rule of the audit. They are written down; no retry is used, for they stay done."""


class AuthenticationFailed(call.AuthenticationFailed, AirflowFailException):
    """The cloud rejects the key. No retry is used: clouds lock a key that is rejected again and again."""


class PermissionDenied(call.PermissionDenied, AirflowFailException):
    """The key may not do this. No retry is used: asking again changes nothing."""


_WITHOUT_RETRIES: tuple[type[ApiError], ...] = (AuthenticationFailed, PermissionDenied)


def for_airflow(error: ApiError) -> ApiError:
    """Return the error as a task raises it: a rejected key, or a missing permission, uses no retries."""
    for kind in _WITHOUT_RETRIES:
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
