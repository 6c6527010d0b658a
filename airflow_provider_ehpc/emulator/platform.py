# SPDX-License-Identifier: Apache-2.0
"""Define the parts that all clouds of an emulator share."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_ehpc.emulator.accounts import Accounts
from airflow_provider_ehpc.emulator.aliyun.dialect import Dialect
from airflow_provider_ehpc.emulator.cluster import Cluster
from airflow_provider_ehpc.emulator.faults import Faults
from airflow_provider_ehpc.emulator.operation_log import OperationLog


@dataclass(frozen=True, slots=True)
class Platform:
    """The parts that the service of a cloud is built from."""

    accounts: Accounts
    faults: Faults
    operation_log: OperationLog
    cluster: Cluster
    default_queue: str
    serverless: Cluster
    """The cluster of E-HPC's serverless jobs, which have their own IDs."""
    serverless_queue: str
    dialect: Dialect
    """How E-HPC writes the IDs and states of jobs of :attr:`cluster`."""
