# SPDX-License-Identifier: Apache-2.0
"""Formats of values in E-HPC's requests and responses."""

from __future__ import annotations

import pytest
from pydantic import Field

from airflow_provider_ehpc.apis.aliyun.common import (
    clock,
    cluster_job_ref,
    cluster_of,
    log_bytes,
    parameter,
    with_options,
)
from airflow_provider_ehpc.apis.call import InvalidArgument, UnexpectedResponse
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.apis.response import Items, PascalResponseModel, Text
from airflow_provider_ehpc.apis.schedulers.nodes import node_names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("compute000", ("compute000",)),
        ("compute[002,005,003]", ("compute002", "compute005", "compute003")),
        ("compute[002,005-007]", ("compute002", "compute005", "compute006", "compute007")),
        ("['compute2', 'compute3']", ("compute2", "compute3")),
        ('["compute2","compute3"]', ("compute2", "compute3")),
        ("compute000,login0", ("compute000", "login0")),
        ("compute[08-10],gpu1\n", ("compute08", "compute09", "compute10", "gpu1")),
        ("rack[0-1]n[1,03]", ("rack0n1", "rack0n03", "rack1n1", "rack1n03")),
        ("[]", ()),
        ("", ()),
    ],
)
def test_node_lists(text, names):
    """A running job's log is read on its first node: a misread list makes the log unreadable."""
    assert node_names(text) == names


@pytest.mark.parametrize(
    ("seconds", "text"), [(1, "00:00:01"), (3600, "01:00:00"), (90061, "25:01:01"), (360000, "100:00:00")]
)
def test_clock_does_not_wrap_at_a_day(seconds, text):
    """A wall time of two days, written as 00:00:00, would end the job at once."""
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (False, "false"),
        (3, "3"),
        (0.062, "0.062"),
        ("a b", "a b"),
        (["vsw-a", "vsw-b"], '["vsw-a","vsw-b"]'),
        ({"Image": "中"}, '{"Image":"中"}'),
    ],
)
def test_option_values(value, text):
    assert parameter(value) == text


def test_options_add_to_the_jobs_own_fields():
    fields = {"Name": "j", "Cpu": None, "Node": 2}
    assert with_options(fields, {"Cpu": 1, "Node": 2, "Task": 3}) == {
        "Name": "j",
        "Cpu": 1,
        "Node": 2,
        "Task": 3,
    }


def test_a_contradicting_option_is_rejected_without_its_value():
    """Nobody knows which of two values the user meant; the error must not contain a password."""
    with pytest.raises(InvalidArgument, match=r"^options: RunasUserPassword ") as caught:
        with_options({"RunasUserPassword": "s3cret"}, {"RunasUserPassword": "0ther"})
    assert "s3cret" not in str(caught.value)
    assert "0ther" not in str(caught.value)


class Node(PascalResponseModel):
    name: Text = ""


class Listing(PascalResponseModel):
    nodes: Items[Node]
    tags: Items[Text] = Field(default_factory=list)
    first: Node | None = None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ([{"Name": "a"}, {"Name": "b"}], ["a", "b"]),
        ({"Node": [{"Name": "a"}, {"Name": "b"}]}, ["a", "b"]),
        ({"Name": "a"}, ["a"]),
        (None, []),
        ("", []),
        ({}, []),
        ([], []),
    ],
)
def test_shapes_of_a_list(value, names):
    """2018-04-12 wraps some lists in an object; null instead of [] must not fail a wait."""
    assert [node.name for node in Listing.model_validate({"Nodes": value}).nodes] == names


@pytest.mark.parametrize("value", [None, "", "x", 5, []])
def test_a_missing_object(value):
    assert Listing.model_validate({"Nodes": [], "First": value}).first is None


def test_a_text_instead_of_a_list_of_texts():
    assert Listing.model_validate({"Nodes": [], "Tags": "x"}).tags == ["x"]


def test_log_in_base64_with_line_breaks():
    """MIME encoders break lines after 76 characters; a strict decoder would fail on such a log."""
    assert log_bytes("c2xl\nZXAg\r\nMzA=", "stdout", "B745") == b"sleep 30"


def test_log_that_is_not_base64():
    with pytest.raises(UnexpectedResponse, match="stderr is not Base64") as caught:
        log_bytes("sleep 30!", "stderr", "B745")
    assert caught.value.request_id == "B745"


def test_job_ref_strips_blanks_that_an_xcom_or_a_file_added():
    assert cluster_job_ref("ehpc", " 1.manager\n", "ehpc-hz-1 ", None) == JobRef("1.manager", "ehpc-hz-1")


@pytest.mark.parametrize(
    ("job_id", "cluster_id", "version_id", "argument"),
    [
        ("1", None, None, "cluster_id"),
        ("1", "", None, "cluster_id"),
        (" ", "c", None, "job_id"),
        ("1", "c", "2", "version_id"),
    ],
)
def test_job_ref_names_the_argument_that_is_wrong(job_id, cluster_id, version_id, argument):
    with pytest.raises(InvalidArgument, match=rf"^{argument}: .*"):
        cluster_job_ref("ehpc-classic", job_id, cluster_id, version_id)


def test_a_ref_without_a_cluster_is_rejected_before_any_request():
    with pytest.raises(InvalidArgument, match="cluster_id"):
        cluster_of(JobRef("1"))
