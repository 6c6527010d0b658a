# SPDX-License-Identifier: Apache-2.0
"""Provide the page "HPC jobs" in Airflow's UI.

``plugin`` registers it, ``app`` serves it in Airflow's API server, ``jobs`` reads what tasks recorded
(:mod:`airflow_provider_ehpc.recording`), and ``static/`` contains the page: plain JavaScript and CSS, without
a build step and without requests to other servers.
"""
