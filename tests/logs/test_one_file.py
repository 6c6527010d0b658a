# SPDX-License-Identifier: Apache-2.0
"""stdout and stderr in one file, as Slurm writes them by default: each line once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.job import LogLimits
from airflow_provider_ehpc.logs.reader import same_path
from tests.logs.cloud import Cloud, follow
from tests.logs.test_resume import stored

ONE = {"stdout_path": "/home/x/7.log", "stderr_path": "/home/x/7.log"}
TWO = {"stdout_path": "/home/x/7.out", "stderr_path": "/home/x/7.err"}


def both(at: float, data: bytes, cloud: Cloud) -> None:
    cloud.write(at, data)
    cloud.write(at, data, "stderr")


def job(details: dict[str, str], size: int = 1000) -> Cloud:
    return Cloud(
        states=[(0, "RUNNING"), (205, "SUCCEEDED")], details=dict(details), log_limits=LogLimits(size, 1)
    )


@pytest.mark.parametrize("details", [ONE, {}, {"stdout_path": "/home/x/7.log"}])
def test_each_line_appears_once(details: dict[str, str]) -> None:
    cloud = job(details)
    for second in range(0, 200, 7):
        both(second, b"line %d\n" % second, cloud)
    seen = follow(cloud)
    assert seen.lines() == [f"line {second}" for second in range(0, 200, 7)]
    assert seen.lines("stderr") == []
    assert seen.follower.totals.lines == 29


def test_two_files_with_the_same_lines_are_two() -> None:
    """Their paths say so."""
    cloud = job(TWO)
    both(0, b"hello\n", cloud)
    seen = follow(cloud)
    assert seen.lines() == seen.lines("stderr") == ["hello"]


def test_a_file_that_turns_out_to_be_another_is_read_whole() -> None:
    """Without paths, equal beginnings are taken for one file until they differ."""
    cloud = job({})
    both(0, b"hello\n", cloud)
    cloud.write(30, b"only here\n")
    cloud.write(60, b"only there\n", "stderr")
    seen = follow(cloud)
    assert seen.lines() == ["hello", "only here"]
    assert seen.lines("stderr") == ["hello", "only there"]


@given(
    pieces=st.lists(
        st.tuples(st.integers(0, 200), st.text("ab\n", max_size=30).map(str.encode), st.booleans()),
        max_size=15,
    ).map(lambda pieces: sorted(pieces, key=lambda piece: piece[0])),
    size=st.integers(1, 90),
    apart=st.booleans(),
)
def test_no_line_is_missing_whatever_is_in_the_files(
    pieces: list[tuple[int, bytes, bool]], size: int, apart: bool
) -> None:
    cloud = job({}, size)
    for at, data, same in pieces:
        cloud.write(at, data)
        cloud.write(at, data if same or not apart else data[::-1] + b"e", "stderr")
    seen = follow(cloud)
    out, err = (cloud.files[name].decode().removesuffix("\n").split("\n") for name in ("stdout", "stderr"))
    assert seen.lines() == (out if cloud.files["stdout"] else [])
    if cloud.files["stdout"] != cloud.files["stderr"]:
        assert seen.lines("stderr") == (err if cloud.files["stderr"] else [])


LINKED = {"stdout_path": "/home/x/7.log", "stderr_path": "/nas/home/x/7.log"}


@pytest.mark.parametrize("details", [ONE, {}, LINKED])
def test_a_restart_does_not_bring_the_second_stream(details: dict[str, str]) -> None:
    cloud = job(details)
    for second in range(0, 200, 7):
        both(second, b"line %d\n" % second, cloud)
    cut = follow(cloud, cut_after=30)
    seen = follow(cloud, start=stored(cut.cursor))
    assert seen.lines("stderr") == []
    assert (cut.lines() + seen.lines())[-1] == "line 196"
    assert not [note for note in seen.notes(warning=True) if "---" in note]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a/b.log", "/a/b.log", True),
        ("/a//b.log", "/a/./b.log ", True),
        ("/a/b.log", "/a/b.err", False),
        ("/a/b.log", "", None),
        # One may be a link to the other's folder, or a relative path.
        ("/a/b.log", "/nas/a/b.log", None),
        ("/a/b.log", "b.log", None),
        ("/a/b.log", "/a/c/../b.log", None),
        ("~/b.log", "/home/x/b.log", None),
        ("/a/%j.log", "/a/7.log", None),
        ("/a/b.log", "host:/a/b.log", None),
        ("b.log", "./b.log", True),
        ("/a/b.log", "b.err", False),
        (None, None, None),
    ],
)
def test_paths(one: str | None, other: str | None, same: bool | None) -> None:
    assert same_path(one, other) is same
