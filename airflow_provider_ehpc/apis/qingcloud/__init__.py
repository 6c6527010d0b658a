# SPDX-License-Identifier: Apache-2.0
"""QingCloud HPC: jobs and operations, with their protocol and signature."""
