"""Emulate QingCloud HPC: the protocol of its API, its jobs and its operation log."""
