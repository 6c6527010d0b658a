# SPDX-License-Identifier: Apache-2.0
"""Define ``airflow ehpc``. Every ``airflow`` command loads this module, so it imports little."""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
    positive_int,
)

from airflow_provider_ehpc.cli.times import duration, moment, past, seconds

_CODES = """exit codes:
  0  success
  1  the job failed (logs: only with --exit-code; state: only with --wait or --exit-code)
  2  wrong arguments, or the connection does not exist
  3  the API reported an error, or the job is unknown
  4  the job has not ended (only with --exit-code)
  with --exit-code, the exit code of the job itself if it is known; 130 after Ctrl-C"""


def _conn_id(default: str) -> Arg:
    return Arg(
        ("--conn-id",), help="The connection to the cloud account (default: %(default)s)", default=default
    )


_CONN_ID = _conn_id("aliyun_ehpc_default")
_OPERATIONS_CONN_ID = _conn_id("qingcloud_hpc_default")
_CLUSTER_ID = Arg(("--cluster-id",), help="The cluster (default: that of the connection)")
_CLUSTER_FILTER = Arg(("--cluster-id",), help="Only operations on this cluster or other resource")
_VERSION_ID = Arg(("--version-id",), help="The version of a job of ModelArts v1")
_API = Arg(("--api",), help="The API to use (default: that of the connection's type)")
_JOB = Arg(("job_id",), metavar="JOB", help="The ID of the job")
_JOBS = Arg(("job_id",), metavar="JOB", nargs="+", help="The IDs of jobs")
_POLL_INTERVAL = Arg(
    ("--poll-interval",), type=seconds, default=5.0, help="Seconds between two polls (default: %(default)g)"
)
_EXIT_CODE = Arg(
    ("--exit-code",),
    action="store_true",
    help="Exit with the exit code of the job (of several: the first that is not 0)",
)
_ENCODING = Arg(
    ("--encoding",), default="utf-8", help="The encoding of the log, such as gbk (default: %(default)s)"
)
_START = Arg(
    ("start",),
    metavar="START",
    type=past,
    help="ISO 8601, or a duration before now such as 1h or 7d; included",
)
_MAX_AGE = Arg(
    ("--max-age",),
    type=duration,
    default=timedelta(days=90),
    help="The time for which the cloud stores its log (default: 90d)",
)
_COMMON = (_CONN_ID, _CLUSTER_ID, _API, ARG_VERBOSE)


class _AllArguments(Arg):
    """Accept all arguments unchanged: ``argparse.REMAINDER`` cannot begin with an option (bpo-17050)."""

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        """Make the parser of the command accept everything."""

        def parse_known_args(args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:
            found = namespace or argparse.Namespace()
            found.arguments, found.func = list(args or ()), parser.get_default("func")
            return found, []

        parser.parse_known_args = parse_known_args  # type: ignore[assignment,method-assign]


def _command(name: str, help: str, *args: Arg, examples: str = "", description: str = "") -> ActionCommand:
    module = {"state": "jobs", "stop": "jobs", "audit": "operations"}.get(name, name)
    lines = "\n".join(f"  {line}" for line in examples.strip().splitlines())
    codes = f"\n\n{_CODES}" if _EXIT_CODE in args else ""
    return ActionCommand(
        name=name,
        help=help,
        description=description or None,
        func=lazy_load_command(f"airflow_provider_ehpc.cli.{module}.{name}"),
        args=args,
        epilog=f"examples:\n{lines}{codes}",
    )


_JOBS_COMMAND = _command(
    "jobs",
    "List the jobs of a cluster",
    *_COMMON,
    Arg(
        ("--state",),
        action="extend",
        type=lambda text: text.split(","),
        help="Only these states, such as RUNNING,QUEUED",
    ),
    Arg(("--user",), help="Only jobs of this cluster user"),
    Arg(("--name",), help="Only jobs with this name, which may contain * and ?"),
    Arg(
        ("--since",),
        type=past,
        default="1d",
        help="Of ended jobs, only those submitted since this time: ISO 8601,\n"
        "or a duration such as 2h or 7d (default: %(default)s)",
    ),
    ARG_OUTPUT,
    examples="""
airflow ehpc jobs --state RUNNING,QUEUED
airflow ehpc jobs --user alice --since 7d --output json
""",
)
_STATE_COMMAND = _command(
    "state",
    "Show the states of jobs, or wait until they have ended",
    _JOBS,
    *_COMMON,
    _VERSION_ID,
    Arg(("--wait",), action="store_true", help="Wait until all jobs have ended; exit with 1 if one failed"),
    _EXIT_CODE,
    _POLL_INTERVAL,
    ARG_OUTPUT,
    examples="""
airflow ehpc state 12.manager 13.manager
airflow ehpc state 12.manager --wait --exit-code && airflow dags trigger evaluate
""",
)
_LOGS_COMMAND = _command(
    "logs",
    "Print the log of a job",
    _JOB,
    *_COMMON,
    _VERSION_ID,
    Arg(("-f", "--follow"), action="store_true", help="Print new lines until the job has ended"),
    Arg(
        ("--since",),
        type=past,
        help="Begin with the first line of a stream that starts with this time\n"
        "or a later one: ISO 8601, or a duration such as 10m",
    ),
    Arg(("--stream",), help="Only this stream: stdout, stderr, or a task of ModelArts"),
    Arg(("--tail",), type=positive_int(allow_zero=True), metavar="N", help="Begin with the last N lines"),
    _EXIT_CODE,
    _ENCODING,
    _POLL_INTERVAL,
    description="Print the log of a job. Lines of other streams than stdout begin with the name of the\n"
    "stream. Everything that is not the log goes to the standard error. --since needs lines that\n"
    "begin with a time, because no cloud records when a line was written.",
    examples="""
airflow ehpc logs 12.manager --tail 20
airflow ehpc logs 12.manager -f --stream stderr
""",
)
_SUBMIT_COMMAND = _command(
    "submit",
    "Submit a job",
    Arg(
        ("command",),
        nargs="*",
        metavar="COMMAND",
        help="After --, a program and its arguments, or a shell command in quotes",
    ),
    *_COMMON,
    Arg(
        ("--script",),
        metavar="FILE",
        help="Instead of COMMAND, a script on this machine; - for standard input",
    ),
    Arg(("--job-name",), help="The readable part of the job's name"),
    Arg(("--queue",), help="The queue or partition; for ModelArts, the ID of a resource pool"),
    Arg(("--user",), help="The cluster user that the job runs as"),
    Arg(("--nodes",), help="Number of nodes"),
    Arg(("--cores",), help="Cores per node"),
    Arg(("--gpus",), help="GPUs per node"),
    Arg(("--memory",), help="Memory per node, such as 4GB"),
    Arg(("--wall-time",), help="Time limit of the job: seconds, HH:MM:SS or D-HH:MM:SS"),
    Arg(("--priority",), help="A whole number; the range depends on the API"),
    Arg(("--array",), help="The indexes of an array job: X-Y or X-Y:STEP"),
    Arg(
        ("-e", "--environment"),
        action="append",
        metavar="NAME=VALUE",
        help="An environment variable of the job",
    ),
    Arg(("--stdout-path",), help="A file on the cluster for the standard output"),
    Arg(("--stderr-path",), help="A file on the cluster for the standard error"),
    Arg(("--options",), metavar="JSON", help="Parameters that only this API has, under its own names"),
    Arg(("--wait",), action="store_true", help="Wait until the job has ended; exit with 1 if it failed"),
    Arg(("-f", "--follow"), action="store_true", help="Wait, and print the log while the job runs"),
    _EXIT_CODE,
    _ENCODING,
    _POLL_INTERVAL,
    description="Submit a job and print its ID. If the response is lost, the job is searched for by its\n"
    "unique name before it is submitted again. Ctrl-C ends the wait, not the job.",
    examples="""
airflow ehpc submit --cores 4 --memory 8GB -- python train.py --epochs 3
airflow ehpc submit --script train.sbatch --follow --exit-code
job=$(airflow ehpc submit -- 'make all && make check')
""",
)
_STOP_COMMAND = _command(
    "stop",
    "Request to stop jobs",
    _JOBS,
    *_COMMON,
    _VERSION_ID,
    description="Request to stop jobs. A job that has already ended is not an error. To wait until the jobs\n"
    "have ended, use airflow ehpc state --wait.",
    examples="""
airflow ehpc stop 12.manager 13.manager
""",
)
_OPERATIONS_COMMAND = _command(
    "operations",
    "List the operations on clusters in a window",
    _START,
    Arg(
        ("end",), metavar="END", type=moment, nargs="?", help="The end of the window, excluded (default: now)"
    ),
    _OPERATIONS_CONN_ID,
    _CLUSTER_FILTER,
    _API,
    _MAX_AGE,
    ARG_OUTPUT,
    ARG_VERBOSE,
    examples="""
airflow ehpc operations 1h
airflow ehpc operations 2026-03-01T00:00+08:00 2026-03-02T00:00+08:00 --output json
""",
)
_AUDIT_COMMAND = _command(
    "audit",
    "Save the operations of a window and check them against rules",
    _START,
    Arg(("end",), metavar="END", type=moment, help="The end of the window, excluded"),
    _OPERATIONS_CONN_ID,
    _CLUSTER_FILTER,
    _API,
    Arg(("--path",), required=True, help="A folder, or a URL such as s3://aws@audit/2026"),
    Arg(
        ("--format",),
        action="append",
        choices=("jsonl", "ocsf"),
        help="The format of the file; may be repeated",
    ),
    Arg(
        ("--rules",),
        metavar="FILE",
        help="A YAML or JSON file with a list of rules (docs/audit.md)",
    ),
    Arg(
        ("--settle",),
        type=duration,
        default=timedelta(minutes=5),
        help="Time after END in which operations may still appear (default: 5m)",
    ),
    _MAX_AGE,
    ARG_OUTPUT,
    ARG_VERBOSE,
    description="Save all operations of a window, or fail and save nothing, as OperationAuditOperator does.\n"
    "Exit with 1 if a rule with the effect fail is violated.",
    examples="""
airflow ehpc audit 2026-03-01 2026-03-02 --path audit --rules rules.yaml
""",
)
_EMULATOR_COMMAND = ActionCommand(
    name="emulator",
    help="Start the local cloud",
    func=lazy_load_command("airflow_provider_ehpc.cli.emulator.emulator"),
    args=(_AllArguments(("arguments",)),),  # type: ignore[no-untyped-call]
)


def get_ehpc_cli_commands() -> list[GroupCommand]:
    """Return the commands. Airflow 3.2 and later call this at the start of every command."""
    return [
        GroupCommand(
            name="ehpc",
            help="Work with jobs on managed HPC",
            description="Work with jobs on Alibaba Cloud E-HPC, Huawei Cloud ModelArts and QingCloud HPC.",
            subcommands=(
                _JOBS_COMMAND,
                _STATE_COMMAND,
                _LOGS_COMMAND,
                _SUBMIT_COMMAND,
                _STOP_COMMAND,
                _OPERATIONS_COMMAND,
                _AUDIT_COMMAND,
                _EMULATOR_COMMAND,
            ),
        )
    ]
