"""What the services of one emulator share."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_ehpc.emulator.accounts import Accounts
from airflow_provider_ehpc.emulator.aliyun.dialect import Dialect
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import Faults
from airflow_provider_ehpc.emulator.operation_log import OperationLog


@dataclass(frozen=True, slots=True)
class Platform:
    """The parts that a cloud's service is built from."""

    accounts: Accounts
    faults: Faults
    operation_log: OperationLog
    cluster: Cluster
    default_queue: str
    serverless: Cluster
    """The cluster of serverless jobs, which have IDs and instances of their own."""
    serverless_queue: str
    dialect: Dialect
    """How E-HPC spells the IDs and states of :attr:`cluster`."""
