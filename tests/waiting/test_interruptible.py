# SPDX-License-Identifier: Apache-2.0
"""A task that is reported to end ends, whatever it is doing when the signal comes."""

from __future__ import annotations

import copy
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_ehpc.operators.job_log import JobLogOperator
from airflow_provider_ehpc.operators.operation_audit import OperationAuditOperator
from airflow_provider_ehpc.sensors.job_state import JobStateSensor
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait


@pytest.fixture
def switch() -> Iterator[InterruptibleWait]:
    made = InterruptibleWait()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: made.interrupt())
    yield made
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_ends_the_wait(switch: InterruptibleWait) -> None:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    begun = time.monotonic()
    assert switch.wait(60)
    assert time.monotonic() - begun < 30
    assert switch.wait(60), "it is to end once and for all"


def test_a_wait_without_a_signal_is_as_long_as_asked(switch: InterruptibleWait) -> None:
    begun = time.monotonic()
    assert not switch.wait(0.1)
    assert time.monotonic() - begun >= 0.1
    assert not switch.wait(0.0)


@pytest.mark.parametrize("seed", range(100))
def test_no_moment_of_a_wait_is_deaf(seed: int, switch: InterruptibleWait) -> None:
    """A signal that comes between looking and waiting must not be slept through."""
    delay = random.Random(seed).uniform(0, 0.002)
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    deadline = time.monotonic() + 30
    while not switch.wait(0.0003):
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "make",
    [
        lambda: JobLogOperator(task_id="t", job_id="1", cluster_id="c"),
        lambda: JobStateSensor(task_id="t", job_id="1", cluster_id="c"),
        lambda: OperationAuditOperator(task_id="t", start="{{ ds }}", end="{{ ds }}", path="file:///audit"),
    ],
    ids=["log", "sensor", "audit"],
)
def test_operators_can_be_copied(make: Any) -> None:
    """Airflow copies them for a part of a DAG (partial_subset): ``airflow tasks clear``, ``dags test``."""
    with DAG("d") as dag:
        operator = make()
    assert copy.deepcopy(operator).task_id == "t"
    assert dag.partial_subset("t").task_ids == ["t"]
