# SPDX-License-Identifier: Apache-2.0
"""What Airflow's database stores for a trigger: small, whatever the number of jobs, and readable for long."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.triggers.base import LARGEST_ROW, JobTrigger
from airflow_provider_ehpc.triggers.job_log import JobLogTrigger
from airflow_provider_ehpc.triggers.job_state import JobStateTrigger


def trigger(refs: list[JobRef], kind: type[JobTrigger] = JobStateTrigger, **more: Any) -> JobTrigger:
    jobs = [ref.as_dict() for ref in refs]
    return kind(conn_id="c", api="ehpc", jobs=jobs, started=1.0, poll_interval=5.0, **more)


def rebuilt(one: JobTrigger) -> JobTrigger:
    return type(one)(**json.loads(json.dumps(one.serialize()[1])))


REFS = [
    [JobRef("1", "c")],
    [JobRef("1", "c"), JobRef("2", "c")],
    [JobRef("b", "c", "3"), JobRef("a", "c", "3")],
    [JobRef(f"训练-{n}") for n in range(50)],
    [JobRef("1", "c"), JobRef("1", "d")],
    [JobRef("1", "c", "2"), JobRef("1", "c", "3")],
]


@pytest.mark.parametrize("refs", REFS)
@pytest.mark.parametrize("more", [{}, {"stop_job_on_kill": True, "seen": True, "terms": {"deadline": 9.0}}])
def test_jobs_survive_their_way_through_the_database(refs: list[JobRef], more: dict[str, Any]) -> None:
    one = trigger(refs, **more)
    again = rebuilt(one)
    assert again.refs == refs
    assert again.serialize() == one.serialize()
    for name, value in more.items():
        assert getattr(again, name) == value


def test_a_row_of_an_older_version_is_read() -> None:
    jobs = [{"job_id": f"{n}.manager", "cluster_id": "c"} for n in range(3)]
    row = {"conn_id": "c", "api": "ehpc", "jobs": jobs, "started": 1.0, "poll_interval": 5.0}
    assert JobStateTrigger(**row).refs == [JobRef(f"{n}.manager", "c") for n in range(3)]
    row = {**row, "jobs": jobs[:1], "settle": 5.0, "terms": {"target_states": ["FAILED"]}}
    assert JobLogTrigger(**row).refs == [JobRef("0.manager", "c")]


def test_one_job_is_stored_as_an_older_version_reads_it() -> None:
    """So that tasks can be deferred while triggerers are still to be upgraded."""
    assert trigger([JobRef("1", "c")]).serialize()[1]["jobs"] == [{"job_id": "1", "cluster_id": "c"}]


def test_the_cluster_is_stored_once() -> None:
    row = json.dumps(trigger([JobRef(str(n), "ehpc-hz-FYUr32abcd") for n in range(500)]).serialize()[1])
    assert row.count("ehpc-hz-FYUr32abcd") == 1


@pytest.mark.parametrize("count", [1, 1_000, 10_000])
def test_a_row_of_thousands_of_jobs_fits_into_mysql(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models import crypto
    from airflow.models.trigger import Trigger
    from cryptography.fernet import Fernet

    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", Fernet.generate_key().decode())
    if cached := getattr(crypto.get_fernet, "cache_clear", None):
        cached()
    one = trigger([JobRef(f"{n}.manager", "ehpc-hz-FYUr32abcd") for n in range(20_000, 20_000 + count)])
    stored = len(Trigger.from_object(one).encrypted_kwargs)
    assert stored <= LARGEST_ROW
    # Airflow's own encoding of the arguments adds a little; without a key it stores a quarter less.
    assert stored * 0.95 <= one.stored_size <= stored * 1.4 + 300
    if cached:
        cached()
