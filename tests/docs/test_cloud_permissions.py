# SPDX-License-Identifier: Apache-2.0
"""Check that the policies of docs/clouds/ allow each operation that the package sends for their purpose."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import airflow_provider_ehpc
from airflow_provider_ehpc.apis.aliyun.common_logs import list_common_logs
from airflow_provider_ehpc.apis.capabilities import Capability, supports
from airflow_provider_ehpc.apis.job import JobSpec, LogCursor
from airflow_provider_ehpc.hooks import job_hook
from tests.conftest import Connect

if TYPE_CHECKING:
    from airflow_provider_ehpc.emulator.server import Emulator

CLOUDS = Path(__file__).parents[2] / "docs" / "clouds"
APIS = Path(airflow_provider_ehpc.__file__).parent / "apis"
SOURCES = {
    "alibaba-ehpc.md": ("aliyun/ehpc_calls.py", "aliyun/common_logs.py", "aliyun/classic_calls.py"),
    "alibaba-ehpc-serverless.md": ("aliyun/serverless_calls.py",),
    "huawei-modelarts.md": ("huawei/modelarts_calls.py", "huawei/modelarts_v1.py"),
    "qingcloud-hpc.md": ("qingcloud/hpc_calls.py", "qingcloud/operations.py"),
}
MAKERS = ("rpc_call", "modelarts_call", "hpc_call")
OPTIONS: dict[str, Any] = {
    "ehpc-serverless": {"Container": {"Image": "shell"}},
    "modelarts": {
        "algorithm": {"engine": {"image_url": "shell"}},
        "spec": {"resource": {"flavor_id": "cpu"}},
    },
}
READ, WRITE, AUDIT = "To wait", "To submit", "To audit"


def operations(page: str) -> set[str]:
    """Return the operations of the API's modules: the first text in each expression that builds a call."""
    found = set()
    for source in SOURCES[page]:
        for node in ast.walk(ast.parse((APIS / source).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS:
                texts = (arg.value for arg in node.args if isinstance(arg, ast.Constant))
                found.add(str(next(texts)))
    return found


def table(page: str) -> dict[str, str]:
    """Return the table of a page: the action that each operation needs."""
    rows = re.findall(r"^\| `([\w/]+)` \| `([^`]+)` \|", (CLOUDS / page).read_text(), re.MULTILINE)
    return dict(rows)


def policies(page: str) -> dict[str, set[str]]:
    """Return the actions of each policy by its heading."""
    found: dict[str, set[str]] = {}
    for heading, body in re.findall(
        r"^### (.+?)$(.*?)(?=^##)", (CLOUDS / page).read_text(), re.MULTILINE | re.DOTALL
    ):
        for block in re.findall(r"```json\n(.*?)```", body, re.DOTALL):
            document: dict[str, Any] = json.loads(block)
            for statement in document["Statement"]:
                assert statement["Effect"] == "Allow"
                found.setdefault(heading, set()).update(statement["Action"])
    return found


def allowed(page: str, *purposes: str) -> set[str]:
    """Return the actions of the policies for the given purposes."""
    of = policies(page).items()
    return {action for heading, actions in of if heading.startswith(purposes) for action in actions}


@pytest.mark.parametrize("page", SOURCES)
def test_the_table_has_every_operation(page: str) -> None:
    """If an operation is added to the API, it must also be added to the page and its policies."""
    written = set(table(page)) - ({"ListClusters"} if page == "alibaba-ehpc-serverless.md" else set())

    assert written == operations(page)


@pytest.mark.parametrize("page", [page for page in SOURCES if "qingcloud" not in page])
def test_the_policies_have_every_action(page: str) -> None:
    """Together, the policies allow all actions in the table."""
    actions = set().union(*policies(page).values())

    assert set(table(page).values()) <= actions


def uses(api: str, emulator: Emulator, connect: Connect) -> Iterator[tuple[str, set[str]]]:
    """Yield purposes, and the operations that a hook sends for each."""
    kind = "huawei_modelarts" if api == "modelarts" else "aliyun_ehpc"
    hook = job_hook(connect(emulator.connections[kind]), api)
    spec = JobSpec(
        name="example1",
        command="sleep 30",
        user="alice" if api == "ehpc-classic" else None,
        options=OPTIONS.get(api, {}),
    )

    def sent() -> set[str]:
        done = set(emulator.requests.counts)
        emulator.requests.clear()
        return done

    emulator.requests.clear()
    ref = hook.submit(spec)
    hook.jobs_named("example1", ref.cluster_id)
    hook.stop(ref)
    yield WRITE, sent()
    assert hook.test_connection()[0]
    hook.job_status(ref)
    hook.job_statuses([ref, ref._replace(job_id=ref.job_id + "9"), ref._replace(job_id=ref.job_id + "8")])
    hook.cluster_jobs(datetime.now(UTC) - timedelta(minutes=5), ref.cluster_id)
    if supports(api, Capability.LOG):
        hook.read_log(ref, LogCursor(), 4096)
        hook.log_tail(ref, 4096)
    yield READ, sent()
    if supports(api, Capability.OPERATIONS):
        hook.call(list_common_logs(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC)))
        yield AUDIT, sent()
    hook.close()


@pytest.mark.parametrize(
    ("api", "page"),
    [
        ("ehpc", "alibaba-ehpc.md"),
        ("ehpc-classic", "alibaba-ehpc.md"),
        ("ehpc-serverless", "alibaba-ehpc-serverless.md"),
        ("modelarts", "huawei-modelarts.md"),
    ],
)
def test_each_policy_allows_what_its_purpose_sends(
    api: str, page: str, ehpc_emulator: Emulator, connect: Connect
) -> None:
    """A task needs only the policies that the page names for its purpose."""
    needs = table(page)
    for purpose, sent in uses(api, ehpc_emulator, connect):
        assert sent
        # "in addition to the first"
        actions = allowed(page, purpose, *([READ] if purpose == WRITE else []))
        assert {needs[operation] for operation in sent} <= actions, purpose
