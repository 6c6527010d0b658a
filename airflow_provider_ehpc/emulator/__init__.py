# SPDX-License-Identifier: Apache-2.0
"""A local cloud: the APIs over HTTP, with real jobs.

``cluster`` and ``schedulers`` run jobs and know no API. One package per cloud, such as ``aliyun``, implements
its APIs. ``gateway`` connects both to HTTP and injects faults. ``services`` lists the clouds.
"""
