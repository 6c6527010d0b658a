# SPDX-License-Identifier: Apache-2.0
"""Everything a cloud, or what stands before it, can answer: the matrix of faults, APIs and tasks."""
