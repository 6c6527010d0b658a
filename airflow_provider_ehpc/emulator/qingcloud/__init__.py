# SPDX-License-Identifier: Apache-2.0
"""Emulate QingCloud HPC: the protocol of its API, its jobs and its operation log."""
