# SPDX-License-Identifier: Apache-2.0
"""Alibaba Cloud E-HPC: one module an API, over one signing and one RPC protocol."""
