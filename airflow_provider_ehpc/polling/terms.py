# SPDX-License-Identifier: Apache-2.0
"""The former place of :mod:`airflow_provider_ehpc.waiting.conditions`; older programs import it."""

from __future__ import annotations

from airflow_provider_ehpc.waiting.conditions import WaitConditions as WaitTerms

__all__ = ["WaitTerms"]
