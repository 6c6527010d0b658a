"""Huawei Cloud ModelArts: training jobs by API v2, and by API v1 where it still runs."""
