# SPDX-License-Identifier: Apache-2.0
"""Steps of a flow that do not wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest

from airflow_provider_ehpc.apis.aliyun.ehpc import get_job
from airflow_provider_ehpc.apis.call import AT_ONCE, ApiCall, NotFound, Together, some_at_once
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks.aliyun import EhpcHook
from tests.conftest import Ask


def test_they_are_under_way_at_the_same_time(hook: EhpcHook) -> None:
    """Each goes on only when all have come as far."""

    def part(number: int) -> Generator[Any, Any, int]:
        yield "all are here"
        return number

    async def wait() -> list[int]:
        all_are_here = asyncio.Barrier(AT_ONCE)
        async with asyncio.timeout(20):
            return await hook.adrive(
                some_at_once(part(number) for number in range(3 * AT_ONCE)), lambda step: all_are_here.wait()
            )

    assert asyncio.run(wait()) == list(range(3 * AT_ONCE))


async def test_the_error_of_one_comes_when_the_others_are_through(hook: EhpcHook) -> None:
    """What the others were told would else come when nobody takes it any more."""
    through = []

    def fails() -> Generator[Any, Any, None]:
        raise NotFound("no such job")
        yield

    def takes_long(number: int) -> Generator[Any, Any, None]:
        yield "a while"
        through.append(number)

    def whole() -> Generator[Any, Any, str]:
        try:
            yield Together((fails(), takes_long(1), takes_long(2)))
        except NotFound as error:
            return error.message
        return ""

    assert await hook.adrive(whole(), lambda step: asyncio.sleep(0.2)) == "no such job"
    assert through == [1, 2]


def test_an_error_that_is_not_caught_is_raised(hook: EhpcHook, ehpc_emulator: Emulator, ask: Ask) -> None:
    def part(job_id: str) -> Generator[ApiCall[Any], Any, None]:
        yield get_job(ehpc_emulator.cluster_id, job_id)

    with pytest.raises(NotFound, match="no-such-job"):
        ask(hook, "drive", some_at_once([part("no-such-job"), part("nor-this-one")]))
