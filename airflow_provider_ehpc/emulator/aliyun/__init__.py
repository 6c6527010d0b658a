# SPDX-License-Identifier: Apache-2.0
"""Emulate Alibaba Cloud: the protocol of its gateway, and the API versions of E-HPC."""
