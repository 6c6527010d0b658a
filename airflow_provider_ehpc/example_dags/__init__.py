# SPDX-License-Identifier: Apache-2.0
"""Example DAGs. Airflow shows them if ``[core] load_examples`` is on (from version 3.3 on)."""
