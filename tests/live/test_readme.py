# SPDX-License-Identifier: Apache-2.0
"""The first five minutes of a new user, as the README describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.first_minutes import first_minutes

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.airflow
def test_the_first_dag_succeeds_as_pasted(tmp_path: Path) -> None:
    """It is the first thing that a new user tries."""
    first_minutes(README, tmp_path)
