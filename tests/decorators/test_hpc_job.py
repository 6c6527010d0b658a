# SPDX-License-Identifier: Apache-2.0
"""The decorator, in a DAG."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.decorators.hpc_job import hpc_job_task
from airflow_provider_ehpc.emulator.server import Emulator
from tests.operators.tries import TaskInstance, jobs_of


def test_airflow_offers_it() -> None:
    with DAG("d", schedule=None) as dag:

        @task.hpc_job(api="ehpc", cores=2)
        def run() -> str:
            return "true"

        run()
    assert dag.get_task("run").cores == 2


def test_the_function_returns_the_command(ehpc_emulator: Emulator, conn_id: str) -> None:
    with DAG("d", schedule=None) as dag:

        @hpc_job_task(conn_id=conn_id, cores=2, poll_interval=0.05, get_logs=False)
        def run(size: int) -> str:
            return f"test {size} = {{{{ params.size }}}}"

        run(3)
    operator: Any = dag.get_task("run")
    job = operator.execute({"ti": TaskInstance(), "params": {"size": 3}})
    assert job["state"] == "SUCCEEDED"
    (made,) = jobs_of(ehpc_emulator)
    assert "test 3 = 3" in made.spec.command
    assert made.spec.cores == 2


def test_arguments_are_checked_when_the_dag_is_parsed() -> None:
    with DAG("d", schedule=None):

        @task.hpc_job(api="modelarts", cores=2)
        def run() -> str:
            return "true"

        with pytest.raises(InvalidArgument, match="cores: the flavor determines this"):
            run()


@pytest.mark.parametrize("command", [None, "", " ", ["true"]])
def test_a_function_that_returns_no_command(conn_id: str, command: Any) -> None:
    with DAG("d", schedule=None) as dag:

        @hpc_job_task(conn_id=conn_id)
        def run() -> Any:
            return command

        run()
    operator: Any = dag.get_task("run")
    with pytest.raises(TypeError, match="run has to return the job's command"):
        operator.execute({"ti": TaskInstance()})


@pytest.mark.parametrize("queue", ["gpu", None])
def test_the_queue_is_the_jobs_if_it_is_mapped(queue: str | None) -> None:
    """Airflow would take it for the queue of the worker."""
    with DAG("d", schedule=None) as dag:

        @task.hpc_job(queue=queue)
        def run(n: int) -> str:
            return f"echo {n}"

        run.expand(n=[1])
    operator: Any = dag.get_task("run")
    assert operator.queue == "default"
    made = operator.unmap({"op_kwargs": {"n": 1}})
    assert (made.queue, made.job_queue or None) == ("default", queue)


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("given", [{}, {"queue": "gpu"}])
def test_the_queue_can_be_overridden(given: dict[str, Any], mapped: bool) -> None:
    with DAG("d", schedule=None) as dag:

        @task.hpc_job(**given)
        def run(n: int = 1) -> str:
            return f"echo {n}"

        other = run.override(queue="cpu").override(cores=2)
        other.expand(n=[1]) if mapped else other()
    operator: Any = dag.get_task("run")
    made = operator.unmap({"op_kwargs": {"n": 1}}) if mapped else operator
    assert (operator.queue, made.job_queue, made.cores) == ("default", "cpu", 2)


def test_the_jobs_queue_of_default_args_counts() -> None:
    with DAG("d", schedule=None, default_args={"job_queue": "gpu"}) as dag:

        @task.hpc_job
        def run() -> str:
            return "true"

        run()
    assert dag.get_task("run").job_queue == "gpu"
