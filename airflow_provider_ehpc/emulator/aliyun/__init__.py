"""Alibaba Cloud: the protocol of its gateway, and one module an API version."""
