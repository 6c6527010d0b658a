# SPDX-License-Identifier: Apache-2.0
"""Sensors: tasks that wait for jobs."""
