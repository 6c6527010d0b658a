# SPDX-License-Identifier: Apache-2.0
"""Record the jobs of a task, for the page "HPC jobs" (:mod:`airflow_provider_ehpc.ui`).

A task instance has one XCom, :data:`~airflow_provider_ehpc.recording.record.KEY`. A worker writes it at the
first poll, when a job changes its state, when the wait ends, and once a minute while a log grows. The
triggerer does the same, but all triggers share a few writes per second. The page only reads these XComs.
"""
