"""Which jobs of a cluster have ended since the last poll: for triggers that start a DAG."""
