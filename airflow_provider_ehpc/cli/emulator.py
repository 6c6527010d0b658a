# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc emulator``."""

from __future__ import annotations

import os
import sys
from argparse import Namespace


def emulator(args: Namespace) -> None:
    """Replace this process with the emulator, which does not need Airflow."""
    sys.stdout.flush()
    program = [sys.executable, "-m", "airflow_provider_ehpc.emulator", *args.arguments]
    os.execv(sys.executable, program)  # noqa: S606 - no shell
