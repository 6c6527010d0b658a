# SPDX-License-Identifier: Apache-2.0
"""What tests of those who look at jobs share."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from airflow_provider_ehpc.hooks import pool
from airflow_provider_ehpc.polling import poller
from tests.polling.cloud import Cloud


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Generator[Cloud, None, None]:
    made = Cloud()
    monkeypatch.setattr(pool, "ajob_hook", made.open)
    monkeypatch.setattr(poller.random, "uniform", lambda low, high: 1.0)
    yield made
    assert not poller._pollers, "a poller was left behind"
    assert made.opened == made.closed
