# SPDX-License-Identifier: Apache-2.0
"""``airflow ehpc emulator``."""

from __future__ import annotations

import os
import sys
from argparse import Namespace


def emulator(args: Namespace) -> None:
    """Replace this process by the emulator, which needs nothing of Airflow."""
    sys.stdout.flush()
    program = [sys.executable, "-m", "airflow_provider_ehpc.emulator", *args.arguments]
    os.execv(sys.executable, program)  # noqa: S606 - no shell
