# SPDX-License-Identifier: Apache-2.0
"""Wait for jobs: the conditions of a wait, what a poll means for it, and how it ends."""
