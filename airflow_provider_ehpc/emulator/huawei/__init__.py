"""Huawei Cloud: the protocol of its gateway, IAM's tokens, and one module an API version of ModelArts."""
