"""Apache Airflow provider for jobs on managed HPC."""

__version__ = "0.1.0"
