# SPDX-License-Identifier: Apache-2.0
"""The command ``airflow ehpc``: jobs, logs, submissions and operations from a terminal or a script."""
