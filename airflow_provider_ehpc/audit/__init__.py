# SPDX-License-Identifier: Apache-2.0
"""Audit what was done to clusters: read a window completely, check it against rules, and write it.

Pure, except for writing: :func:`~.window.read_window` and :func:`~.pending.complete` are flows over an
:class:`~airflow_provider_ehpc.apis.operation.OperationSource`, :func:`~.rules.judge` applies the rules, and
:func:`~.sinks.write_audit` writes to a directory of any store. Nothing here imports Airflow.
"""
