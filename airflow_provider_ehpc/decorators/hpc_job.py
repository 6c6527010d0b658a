# SPDX-License-Identifier: Apache-2.0
"""``@task.hpc_job``: a function that returns the command of a job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION

from airflow_provider_ehpc.operators.job import SubmitJobOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator


class _HpcJobDecoratedOperator(DecoratedOperator, SubmitJobOperator):
    """Submit the command that a function returns."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *SubmitJobOperator.template_fields)
    template_fields_renderers = {  # noqa: RUF012 - as in Airflow's operators
        **DecoratedOperator.template_fields_renderers,
        **SubmitJobOperator.template_fields_renderers,
    }
    custom_operator_name: str = "@task.hpc_job"
    overwrite_rtif_after_execution: bool = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            command=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Call the function, render the command that it returns, and run the job."""
        context_merge(context, self.op_kwargs)
        kwargs = determine_kwargs(self.python_callable, self.op_args, context)
        self.command = self.python_callable(*self.op_args, **kwargs)
        if not isinstance(self.command, str) or not self.command.strip():
            raise TypeError(
                f"@task.hpc_job: {self.python_callable.__name__} has to return the job's command as text"
            )
        self.render_template_fields(context)
        return super().execute(context)


def hpc_job_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Make a task of a function that returns a job's command.

    :param kwargs: the arguments of :class:`~airflow_provider_ehpc.operators.job.SubmitJobOperator` but for
        ``command`` and ``script``.
    """
    decorated: TaskDecorator = task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=_HpcJobDecoratedOperator,
        **_with_job_queue(kwargs),
    )
    if python_callable is not None:
        return _overridable(decorated)
    return lambda function: _overridable(decorated(function))  # type: ignore[return-value]


def _with_job_queue(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Rename ``queue``, which Airflow would take for the queue of the worker if the task is mapped."""
    queue = kwargs.pop("queue", None)
    return kwargs if queue is None else {**kwargs, "job_queue": queue}


def _overridable(task: Any) -> TaskDecorator:
    """Let ``override(queue=...)`` of a decorated function set the job's queue, too."""
    override = task.override
    task.override = lambda **kwargs: _overridable(override(**_with_job_queue(kwargs)))
    return task  # type: ignore[no-any-return]
