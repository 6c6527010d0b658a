# SPDX-License-Identifier: Apache-2.0
"""Apache Airflow provider for jobs on managed HPC."""

__version__ = "0.1.0"
