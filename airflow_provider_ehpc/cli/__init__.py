# SPDX-License-Identifier: Apache-2.0
"""Provide the command ``airflow ehpc``: jobs, logs, submissions and operations in a terminal or a script."""
