# SPDX-License-Identifier: Apache-2.0
"""Emulate Huawei Cloud: the protocol of its gateway, tokens of IAM, and ModelArts v2 and v1."""
