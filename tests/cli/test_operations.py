# SPDX-License-Identifier: Apache-2.0
"""Test ``airflow ehpc operations`` and ``audit``."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_ehpc.emulator.operations import EmulatedOperation
from airflow_provider_ehpc.emulator.server import Emulator
from tests.cli.conftest import Ehpc

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=5)
WINDOW = (MIDNIGHT.isoformat(), (MIDNIGHT + timedelta(days=1)).isoformat())
RULES = """
- name: no deletions
  action: DeleteClusters
  effect: {effect}
"""


@pytest.fixture(autouse=True)
def three_operations(ehpc_emulator: Emulator) -> list[str]:
    begin = int(MIDNIGHT.timestamp())
    return ehpc_emulator.add_operations(
        EmulatedOperation(begin + hour * 3600, action, actor="usr-a", resources=("ehpc-1",))
        for hour, action in enumerate(["AddNodes", "DeleteClusters", "AddNodes"])
    )


def test_operations_of_a_window(ehpc: Ehpc) -> None:
    ended = ehpc("operations", *WINDOW, "-o", "json")
    assert (ended.code, ended.err) == (0, "")
    rows = json.loads(ended.out)
    assert [row["action"] for row in rows] == ["AddNodes", "DeleteClusters", "AddNodes"]
    assert rows[0]["time"] == MIDNIGHT.isoformat()
    assert rows[0]["operator"] == "usr-a"


def test_operations_until_now(ehpc: Ehpc, ehpc_emulator: Emulator) -> None:
    job_id = ehpc("submit", "--", "exit 0").out.strip()
    ended = ehpc("operations", "1h", "--conn-id", "aliyun_ehpc_default", "-o", "json")
    assert ended.code == 0
    (row,) = json.loads(ended.out)
    assert (row["action"], row["status"]) == ("CreateJob", "SUCCEEDED")
    assert job_id in row["resources"]
    assert "may still be missing" in ended.err


@pytest.mark.parametrize("effect", ["warn", "fail"])
def test_an_audit_as_by_the_operator(ehpc: Ehpc, tmp_path: Path, effect: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.format(effect=effect))
    words = ("--path", str(tmp_path / "audit"), "--format", "jsonl", "--format", "ocsf")
    ended = ehpc("audit", *WINDOW, *words, "--rules", str(rules), "-o", "json")
    assert ended.code == (effect == "fail")
    assert "usr-a: action is not allowed for anyone" in ended.err
    (row,) = json.loads(ended.out)
    assert (row["operations"], row["violations"]) == ("3", "1")
    manifest = json.loads(Path(row["manifest"].removeprefix("file://")).read_text())
    assert manifest["records"] == 3
    assert {file["format"] for file in manifest["files"]} == {"jsonl", "ocsf"}
    for file in manifest["files"]:
        assert len(Path(file["path"].removeprefix("file://")).read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("2026-03-02T00:00Z", "2026-03-01T00:00Z"), "ends before it begins"),
        (("200d", "190d"), "begins more than 90 days ago"),
        (("1h", "1s"), "may still appear until"),
        ((*WINDOW, "--rules", "/no/such/file"), "No such file"),
        ((*WINDOW, "--conn-id", "huawei_modelarts_default"), "does not support"),
        ((*WINDOW, "--path", "nope://folder"), "path: "),
        ((*WINDOW, "--path", " "), "path: expected a non-empty text"),
        ((*WINDOW, "--path", "a\udcff"), "path: 'a\\udcff' contains a character that is not printable"),
    ],
)
def test_wrong_windows(ehpc: Ehpc, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    ended = ehpc("audit", "--path", str(tmp_path / "audit"), *words)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize("text", ["- name: a\n  : b: c", "name: a", "- a"])
def test_wrong_rules(ehpc: Ehpc, tmp_path: Path, text: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    ended = ehpc("audit", *WINDOW, "--path", str(tmp_path / "audit"), "--rules", str(rules))
    assert ended.code == 2
    assert ended.err.startswith("--rules: ")
    assert len(ended.err.splitlines()) == 1
