# SPDX-License-Identifier: Apache-2.0
"""Job IDs: misreading one confuses an array with a sub-job, or miscounts its sub-jobs."""

from __future__ import annotations

import pytest

from airflow_provider_ehpc.apis.array import array_size
from airflow_provider_ehpc.apis.schedulers.ids import (
    array_indexes,
    equal_ids,
    is_whole_array,
    job_number,
    member_id,
    member_indexes,
)


@pytest.mark.parametrize(
    ("request_text", "indexes"),
    [
        ("1-10", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        ("1-4%2", [1, 2, 3, 4]),
        ("0-5:2", [0, 2, 4]),
        ("1-9:2%3", [1, 3, 5, 7, 9]),
        ("1,3,5-7", [1, 3, 5, 6, 7]),
        ("1,3,5-7%2", [1, 3, 5, 6, 7]),
        ("1-3,2-5", [1, 2, 3, 4, 5]),
        ("[3-4%2]", [3, 4]),
        (" 1 - 3 ", [1, 2, 3]),
        ("7", [7]),
        ("1-3:0", [1, 2, 3]),
        ("5-1", []),
        ("", None),
        ("-", None),
        ("all", None),
        ("1-", None),
        ("1-3%", None),
        ("1-3;5", None),
        ("1-99999999999999999999999999", None),
    ],
)
def test_array_requests(request_text, indexes):
    found = array_indexes(request_text)
    assert (found if found is None else list(found)) == indexes
    assert array_size(request_text) == len(indexes or ())


def test_a_huge_array_costs_nothing():
    assert array_size("0-999999999") == 10**9
    assert array_indexes("0-999999999,5") is None


@pytest.mark.parametrize(
    ("job_id", "number", "whole", "indexes"),
    [
        ("123", "123", True, []),
        ("123_4", "123", False, [4]),
        ("123_[5-9%2]", "123", False, [5, 6, 7, 8, 9]),
        ("123+1", "123", True, []),
        ("123.manager", "123", True, []),
        ("123[].manager", "123", True, []),
        ("123[4].manager.cluster.local", "123", False, [4]),
        ("123[4-5]", "123", False, [4, 5]),
        (" 123_4\n", "123", False, [4]),
        ("job-a1", "job-a1", False, []),
    ],
)
def test_forms_of_ids(job_id, number, whole, indexes):
    assert job_number(job_id) == number
    assert is_whole_array(job_id) is whole
    assert list(member_indexes(job_id)) == indexes


def test_an_index_may_be_separate_from_the_id():
    assert list(member_indexes("77", "3-5%2")) == [3, 4, 5]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1", "1.manager", True),
        ("1.manager", "1.manager.cluster.local", True),
        ("1.manager", "1.other", False),
        ("12", "12[]", True),
        ("12[].a", "12", True),
        ("12[3].a", "12[3]", True),
        ("12[3]", "12[4]", False),
        ("12_3", "12", False),
        ("1", "11", False),
        ("123+1", "123", False),
    ],
)
def test_one_job_under_two_ids(one, other, same):
    assert equal_ids(one, other) is same
    assert equal_ids(other, one) is same


@pytest.mark.parametrize(
    ("array", "index", "member"),
    [
        ("12", 3, "12_3"),
        ("12", "3-5%2", "12_[3-5%2]"),
        ("12[]", 3, "12[3]"),
        ("12[].manager", 3, "12[3].manager"),
        ("12.manager", 3, "12[3].manager"),
    ],
)
def test_ids_of_sub_jobs(array, index, member):
    assert member_id(array, index) == member
