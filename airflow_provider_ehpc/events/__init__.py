# SPDX-License-Identifier: Apache-2.0
"""Find the jobs of a cluster that have ended since the last poll, for triggers that start a DAG."""
