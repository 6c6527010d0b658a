# SPDX-License-Identifier: Apache-2.0
"""A cloud that answers what it is reported to, and a clock that costs no time."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import selectors
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from airflow_provider_ehpc.apis.call import ApiError
from airflow_provider_ehpc.apis.job import JobRef, JobState, JobStatus, PartialResult
from airflow_provider_ehpc.polling.poller import subscribed
from airflow_provider_ehpc.polling.subscription import PollResult

T = TypeVar("T")
CLUSTER = "ehpc-hz-1"


class _Clockwork(selectors.SelectSelector):
    """Lets the time pass at once in which nothing would happen."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.passed += timeout or 0.0
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    """An event loop with a clock of its own, which only waiting moves."""

    def __init__(self) -> None:
        self._clockwork = _Clockwork()
        super().__init__(self._clockwork)

    def time(self) -> float:
        return 1000.0 + self._clockwork.passed


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end, in no time. It is over after some hours of the loop's clock in any case."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(asyncio.wait_for(main, 10_000))


def ref(number: int | str, cluster: str = CLUSTER) -> JobRef:
    return JobRef(str(number), cluster)


@dataclasses.dataclass
class Account:
    confidential: tuple[str, ...] = ("key",)


class Cloud:
    """What a hook would be: it answers what it is reported to, and counts."""

    def __init__(self) -> None:
        self.states: dict[JobRef, JobState | None] = {}
        """Of those that are not RUNNING; None of one that it does not know."""
        self.looks: list[tuple[float, list[JobRef]]] = []
        self.error: Callable[[list[JobRef]], Exception | None] = lambda refs: None
        self.lasts = 0.0
        """Seconds that a page takes, or the whole where there are no pages."""
        self.page = 0
        self.account = Account()
        self.opened = self.closed = self.refreshed = 0
        self.contexts: list[contextvars.Context] = []

    async def open(self, conn_id: str, api: str) -> Hook:
        self.opened += 1
        return Hook(self, dataclasses.replace(self.account))

    @property
    def times(self) -> list[float]:
        return [at - 1000 for at, _ in self.looks]


@dataclasses.dataclass
class Hook:
    cloud: Cloud
    account: Account
    requests: Counter[str] = dataclasses.field(default_factory=Counter)

    async def ajob_statuses(
        self, refs: Iterable[JobRef], publish: Callable[[PartialResult], Awaitable[None]]
    ) -> dict[JobRef, JobStatus | None]:
        refs = sorted(refs, key=lambda ref: ref in self.cloud.states) if self.cloud.page else list(refs)
        self.cloud.looks.append((asyncio.get_running_loop().time(), refs))
        self.cloud.contexts.append(contextvars.copy_context())
        found: dict[JobRef, JobStatus | None] = {}
        self.requests["read"] += 1
        while self.cloud.page and len(found) + self.cloud.page < len(refs):
            self.requests["read"] += 1
            await asyncio.sleep(self.cloud.lasts)
            reported = self.answers(refs[len(found) : len(found) + self.cloud.page])
            found |= reported
            await publish(PartialResult(reported))
        await asyncio.sleep(self.cloud.lasts)
        if error := self.cloud.error(refs):
            raise error
        return found | self.answers(refs[len(found) :])

    def answers(self, refs: list[JobRef]) -> dict[JobRef, JobStatus | None]:
        states = {ref: self.cloud.states.get(ref, JobState.RUNNING) for ref in refs}
        return {ref: JobStatus(ref.job_id, state, state) if state else None for ref, state in states.items()}

    async def arefresh(self, outdated: Account) -> None:
        self.cloud.refreshed += 1

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.cloud.closed += 1


async def until(
    number: int | str,
    wanted: Callable[[PollResult], bool] = lambda look: isinstance(look, ApiError),
    *,
    cluster: str = CLUSTER,
    seen: list[PollResult] | None = None,
    **settings: Any,
) -> float:
    """Wait for one job; return how many seconds after the beginning of the test the wait was over."""
    settings = {"interval": 5.0, "earliest": 5.0, "first": 7.0, **settings}
    async with subscribed("c", "ehpc", [ref(number, cluster)], **settings) as subscription:
        while True:
            look = await subscription.poll()
            if seen is not None:
                seen.append(look)
            if wanted(look):
                return asyncio.get_running_loop().time() - 1000


def ended(number: int | str, cluster: str = CLUSTER) -> Callable[[PollResult], bool]:
    def test(look: PollResult) -> bool:
        status = None if isinstance(look, ApiError) else look[ref(number, cluster)]
        return status is not None and status.state.terminal

    return test


async def after(seconds: float, act: Callable[[], object]) -> None:
    await asyncio.sleep(seconds)
    act()


def end_all(cloud: Cloud, count: int) -> None:
    cloud.states.update({ref(n): JobState.SUCCEEDED for n in range(count)})
