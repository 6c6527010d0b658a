# SPDX-License-Identifier: Apache-2.0
"""Run ``airflow ehpc`` on any version of Airflow: ``python -m airflow_provider_ehpc.cli jobs``.

Airflow 3.1 does not load commands of providers.
"""

from __future__ import annotations

import sys

from airflow.__main__ import main
from airflow.cli import cli_parser

from airflow_provider_ehpc.cli.definition import get_ehpc_cli_commands

if __name__ == "__main__":
    for command in get_ehpc_cli_commands():
        cli_parser.ALL_COMMANDS_DICT.setdefault(command.name, command)
        sys.argv = ["airflow", command.name, *sys.argv[1:]]
    main()
