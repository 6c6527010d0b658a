# SPDX-License-Identifier: Apache-2.0
"""Jobs as Slurm and PBS report them, for every API that passes on their reports."""
