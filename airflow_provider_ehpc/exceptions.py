"""How a task ends when the job did not end as wanted."""

from __future__ import annotations

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
