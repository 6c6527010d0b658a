# SPDX-License-Identifier: Apache-2.0
"""The former place of :mod:`airflow_provider_ehpc.waiting.watch`; older programs import it."""

from __future__ import annotations

from airflow_provider_ehpc.waiting.verdict import Outcome
from airflow_provider_ehpc.waiting.watch import JobSetWatch, JobWatch

__all__ = ["JobSetWatch", "JobWatch", "Outcome"]
