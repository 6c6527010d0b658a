# SPDX-License-Identifier: Apache-2.0
"""What importing the audit costs."""

from __future__ import annotations

import subprocess
import sys


def test_a_dag_file_that_names_a_window_or_a_rule_pays_for_no_client_and_no_models() -> None:
    """Every DAG file is parsed every half minute."""
    program = (
        "import sys\n"
        "import airflow_provider_ehpc.audit.sinks\n"
        "costly = {'airflow', 'pydantic', 'requests', 'aiohttp', 'fsspec'} & set(sys.modules)\n"
        "print(', '.join(sorted(costly)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
