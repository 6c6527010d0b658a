# SPDX-License-Identifier: Apache-2.0
"""Measurements of this provider beside others, each in one run on one machine."""
