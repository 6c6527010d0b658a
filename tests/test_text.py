# SPDX-License-Identifier: Apache-2.0
"""Text from a cloud stays where it belongs: a file in its folder, a line in its place."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_ehpc.text import file_name, unfold


@pytest.mark.parametrize(
    "name", ["stdout", "stderr", "worker-0", "job-jobtest-tf.0", "aliyun-cn-hangzhou", "a_b"]
)
def test_plain_names_stay(name: str) -> None:
    assert file_name(name) == name


HOSTILE = [
    *(
        "../../evil",
        "/etc/passwd",
        "..",
        ".",
        "",
        " ",
        "a/b",
        "a\\b",
        "C:\\x",
        "..\\x",
        "a:b",
        "~",
        "%2e%2e%2f",
    ),
    *("a\0b", "a\n", "\ud800", "x" * 5000, "数" * 300, ".ssh", "-", "a.", "*?[x]", "NUL", "nul.txt", "com1"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_leaves_its_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    path = folder / f"{file_name(name)}.log"
    path.write_bytes(b"x")
    assert path.resolve().parent == folder
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert not path.name.startswith((".", "-"))
    windows = PureWindowsPath("C:/logs") / path.name
    assert windows.parent == PureWindowsPath("C:/logs")
    assert not windows.is_reserved()


@given(st.lists(st.text(max_size=30) | st.sampled_from(HOSTILE), unique=True, max_size=10))
def test_two_names_never_share_a_file(names: list[str]) -> None:
    assert len({file_name(name) for name in names}) == len(names)
    assert all(len(file_name(name).encode()) < 200 for name in names)


@given(st.text(alphabet=st.sampled_from("abc./\\:\0 -_数"), max_size=300))
def test_any_name_is_one_plain_part(name: str) -> None:
    made = file_name(name)
    assert made
    assert not set(made) & set("/\\:\0 *?")
    assert made.strip(".") == made or made == name


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("::group::Build", ":: group::Build"),
        ("   ::endgroup::", "   :: endgroup::"),
        ("a ::group::b::endgroup::c", "a :: group::b:: endgroup::c"),
        ("::group::group::", ":: group:: group::"),
        ("::endgroup::endgroup::group::", ":: endgroup:: endgroup:: group::"),
        ("group::x", "group::x"),
        ("::Group::", "::Group::"),
        ("std::group<int>", "std::group<int>"),
    ],
)
def test_no_line_folds_the_log(line: str, shown: str) -> None:
    """Airflow's page looks for the words anywhere in a record, as they are spelled here."""
    assert unfold(line) == shown
    assert "::group::" not in shown
    assert "::endgroup::" not in shown


@given(st.lists(st.sampled_from(["::", ":", "group", "endgroup", " ", "end"]), max_size=12).map("".join))
def test_nothing_that_folds_is_left(line: str) -> None:
    shown = unfold(line)
    assert "::group::" not in shown
    assert "::endgroup::" not in shown
    assert shown.replace(" ", "") == line.replace(" ", "")
