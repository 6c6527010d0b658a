"""A local cloud: the APIs over HTTP, with real jobs behind them.

``cluster`` and ``schedulers`` run jobs and know no API; a package a cloud (``aliyun``) says how its API
talks about them; ``gateway`` stands between HTTP and both, and makes the faults that a test asks for.
"""
