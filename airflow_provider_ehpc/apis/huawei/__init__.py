# SPDX-License-Identifier: Apache-2.0
"""Huawei Cloud ModelArts: training jobs of API v2, and of API v1 in clouds that still have it."""
