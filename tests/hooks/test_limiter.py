# SPDX-License-Identifier: Apache-2.0
"""How fast an account is asked, by a clock of our own and against the emulator."""

from __future__ import annotations

import asyncio
import threading

import pytest

from airflow_provider_ehpc.apis.call import ServiceUnavailable, Throttled
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.hooks import limiter as module
from airflow_provider_ehpc.hooks.aliyun import EhpcClassicHook, EhpcHook
from airflow_provider_ehpc.hooks.limiter import (
    BURST,
    LONGEST_PAUSE,
    LONGEST_WAIT,
    SLOWEST,
    RateLimiter,
    Ticket,
    limiter_of,
)
from tests.conftest import Ask, Connect


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def send_times(limiter: RateLimiter, clock: Clock, count: int) -> list[float]:
    """The moments, from now on, at which ``count`` callers that come at once may ask."""
    begin = clock.now
    waiting = [limiter.book() for _ in range(count)]
    times = []
    while waiting:
        clock.now = max(clock.now, min(turn.at for turn in waiting))
        for turn in list(waiting):
            if limiter.pause(turn) == 0:
                waiting.remove(turn)
                times.append(clock.now - begin)
    return times


def test_no_window_has_more_requests_than_the_ceiling_and_the_burst(clock: Clock) -> None:
    """After a restart a thousand jobs come at once; the account is not to be locked for it."""
    times = send_times(RateLimiter(10, clock), clock, 200)
    for begin in times:
        for length in (0.5, 1, 5):
            assert len([t for t in times if begin <= t < begin + length - 1e-9]) <= 10 * length + BURST
    assert times[-1] == pytest.approx((200 - BURST) / 10)


def test_a_single_call_does_not_wait(clock: Clock) -> None:
    limiter = RateLimiter(1, clock)
    assert limiter.pause(limiter.book()) == 0


def test_turns_come_in_the_order_of_asking(clock: Clock) -> None:
    """Whoever came first is not overtaken for ever by those who ask all the time."""
    limiter = RateLimiter(10, clock)
    turns = [limiter.book() for _ in range(50)]
    assert [turn.at for turn in turns] == sorted(turn.at for turn in turns)


def test_a_refusal_halves_the_rate_and_answers_raise_it_again(clock: Clock) -> None:
    limiter = RateLimiter(16, clock)
    limiter.failed(Throttled("slow down"), limiter.book())
    assert limiter.rate == 8
    clock.now += 1
    limiter.succeeded()
    assert 8 < limiter.rate < 9
    clock.now += 60
    limiter.succeeded()
    assert limiter.rate == 16


def test_answers_by_the_thousand_do_not_raise_the_rate_at_once(clock: Clock) -> None:
    limiter = RateLimiter(16, clock)
    limiter.failed(Throttled("slow down"), limiter.book())
    for _ in range(1000):
        clock.now += 0.001
        limiter.succeeded()
    assert limiter.rate < 9


def test_requests_refused_together_are_one_lesson(clock: Clock) -> None:
    """Ten that were on their way would otherwise bring the rate down a thousandfold."""
    limiter = RateLimiter(16, clock)
    turns = [limiter.book() for _ in range(10)]
    for turn in turns:
        limiter.failed(Throttled("slow down"), turn)
    assert limiter.rate == 8
    assert limiter.refusals == 10


def test_the_rate_never_falls_to_nothing(clock: Clock) -> None:
    limiter = RateLimiter(16, clock)
    for _ in range(50):
        limiter.failed(Throttled("slow down"), limiter.book())
    assert limiter.rate == SLOWEST


@pytest.mark.parametrize("kind", [Throttled, ServiceUnavailable])
def test_a_pause_that_the_cloud_asks_for_is_kept_by_all(
    clock: Clock, kind: type[Throttled | ServiceUnavailable]
) -> None:
    """Also by those who had their turn already: coming back sooner is answered with a longer ban."""
    limiter = RateLimiter(10, clock)
    for _ in range(int(BURST)):
        limiter.book()
    before = limiter.book()
    limiter.failed(kind("slow down", retry_after=7), Ticket(clock.now, before.era))
    clock.now += 6.9
    assert limiter.pause(before) > 0
    assert limiter.pause(limiter.book()) > 0
    clock.now += 10
    assert limiter.pause(before) == 0


@pytest.mark.parametrize(("second", "ends"), [(2, 10), (30, 31)])
def test_overlapping_pauses_end_with_the_last(clock: Clock, second: float, ends: float) -> None:
    """A short pause that is asked for during a long one must not shorten it."""
    limiter = RateLimiter(10, clock)
    turn = limiter.book()
    limiter.failed(ServiceUnavailable("x", retry_after=10), turn)
    clock.now += 1
    limiter.failed(ServiceUnavailable("x", retry_after=second), turn)
    assert send_times(limiter, clock, 1) == pytest.approx([ends - 1])


def test_a_refusal_during_a_pause_does_not_shorten_it(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    turn = limiter.book()
    limiter.failed(ServiceUnavailable("x", retry_after=30), turn)
    clock.now += 1
    limiter.failed(Throttled("slow down"), limiter.book())
    assert send_times(limiter, clock, 1) == pytest.approx([29])


def test_a_request_does_not_wait_for_ever_behind_pauses(clock: Clock) -> None:
    """With a ban of years, one request a minute is tried; the others must hear of it, too."""
    limiter = RateLimiter(10, clock)
    limiter.failed(Throttled("banned", retry_after=10**9), limiter.book())
    waiting = limiter.book()
    began = clock.now
    with pytest.raises(Throttled, match=r"not sent: the API has refused requests for 3.. s"):  # noqa: PT012
        while True:
            clock.now += limiter.pause(waiting)
            limiter.failed(Throttled("banned", retry_after=10**9), limiter.book())
    assert clock.now - began <= LONGEST_WAIT + 2 * LONGEST_PAUSE


def test_the_promised_limits() -> None:
    assert (BURST, SLOWEST, LONGEST_PAUSE, LONGEST_WAIT) == (5, 0.5, 60, 300)


def test_no_burst_follows_a_pause(clock: Clock) -> None:
    limiter = RateLimiter(10, clock)
    limiter.failed(ServiceUnavailable("x", retry_after=5), limiter.book())
    times = send_times(limiter, clock, 4)
    assert times == pytest.approx([5, 5.1, 5.2, 5.3])


def test_a_ban_of_an_hour_is_tried_once_a_minute(clock: Clock) -> None:
    """It may be one operation's alone; and a worker must not hang for an hour."""
    limiter = RateLimiter(10, clock)
    limiter.failed(Throttled("slow down", retry_after=3600), limiter.book())
    assert limiter.pause(limiter.book()) <= 61


def test_an_account_that_takes_two_a_second_is_learnt(clock: Clock) -> None:
    """Asked for a thousand requests, it refuses some, and in the end nearly none."""
    limiter = RateLimiter(20, clock)
    served: list[float] = []
    refused: list[float] = []
    begin = clock.now
    while len(served) < 1000:
        turn = limiter.book()
        while pause := limiter.pause(turn):
            clock.now += pause
        if len([t for t in served[-4:] if t > clock.now - 1]) >= 2:
            refused.append(clock.now)
            limiter.failed(Throttled("slow down"), turn)
        else:
            served.append(clock.now)
            limiter.succeeded()
        clock.now += 0.001
    assert clock.now - begin < 1000 / 2 * 1.8
    assert len(refused) < 250


# In the process


@pytest.fixture(autouse=True)
def own_limiters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limiters of the test's own, with the ceiling that a test asks for."""
    monkeypatch.setattr(module, "_limiters", {})


def test_all_hooks_of_an_account_share_one(ehpc_emulator: Emulator, connect: Connect) -> None:
    """A sensor, a log and a submission count together at the cloud's gateway."""
    mine = connect(ehpc_emulator.connection)
    hooks = [EhpcHook(mine), EhpcHook(mine), EhpcClassicHook(mine)]
    other = EhpcHook(connect(ehpc_emulator.connection, "other"))
    assert len({id(limiter_of(hook.account)) for hook in hooks}) == 1
    assert limiter_of(other.account) is not limiter_of(hooks[0].account)


@pytest.mark.parametrize(("told", "ceiling"), [("5", 5.0), ("0.5", 0.5), ("0", module.DEFAULT_CEILING)])
def test_the_ceiling_is_airflows_configuration(
    hook: EhpcHook, monkeypatch: pytest.MonkeyPatch, told: str, ceiling: float
) -> None:
    monkeypatch.setenv("AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND", told)
    assert limiter_of(hook.account).ceiling == ceiling


def test_the_default_is_the_one_that_airflow_shows() -> None:
    from airflow_provider_ehpc.get_provider_info import get_provider_info

    options = get_provider_info()["config"]["ehpc"]["options"]
    assert float(options["max_requests_per_second"]["default"]) == module.DEFAULT_CEILING


def test_calls_wait_for_their_turn(
    ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def pause(self: RateLimiter, turn: Ticket, original: object = RateLimiter.pause) -> float:
        waited.append(turn.at - self._clock())
        return 0.0

    monkeypatch.setenv("AIRFLOW__EHPC__MAX_REQUESTS_PER_SECOND", "1")
    monkeypatch.setattr(RateLimiter, "pause", pause)
    for _ in range(int(BURST) + 1):
        ask(hook, "list_jobs", ehpc_emulator.cluster_id)
    assert [seconds > 0.1 for seconds in waited] == [False] * int(BURST) + [True]


def test_a_refusal_over_http_is_learnt_from(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    ehpc_emulator.fault("throttle", retry_after_ms=300)
    limiter = limiter_of(hook.account)
    ask(hook, "list_jobs", ehpc_emulator.cluster_id)
    assert limiter.refusals == 1
    assert limiter.ceiling / 2 <= limiter.rate < limiter.ceiling


def test_a_client_recovers_after_throttling(ehpc_emulator: Emulator, hook: EhpcHook, ask: Ask) -> None:
    """One refusal must not keep a worker slow for the rest of its wait."""
    ehpc_emulator.fault("throttle", retry_after_ms=10)
    ask(hook, "list_jobs", ehpc_emulator.cluster_id)
    limiter = limiter_of(hook.account)
    assert limiter.rate < limiter.ceiling
    limiter._risen -= 60
    ask(hook, "list_jobs", ehpc_emulator.cluster_id)
    assert limiter.rate == limiter.ceiling


def test_threads_and_loops_share_the_pace(clock: Clock) -> None:
    """A sensor of a worker runs in a thread, a trigger in a loop; dag.test() has a new loop at every turn."""
    limiter = RateLimiter(200)
    threads = [threading.Thread(target=limiter.wait, daemon=True) for _ in range(10)]

    async def many() -> None:
        await asyncio.gather(*(limiter.await_ticket() for _ in range(10)))

    begin = limiter._clock()
    for thread in threads:
        thread.start()
    asyncio.run(many())
    asyncio.run(many())
    for thread in threads:
        thread.join()
    assert limiter._clock() - begin >= (30 - BURST) / 200 - 0.001
