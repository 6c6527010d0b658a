# SPDX-License-Identifier: Apache-2.0
"""What a crash costs a log stream: processes are killed at random moments, and every line is looked for.

Run as ``python -m benchmarks.crashes --moments 50``; it takes about half an hour on two cores. One Airflow
with all its parts and two local clouds in processes of their own run real jobs, whose logs are followed on
workers and in the triggerer. What then stands in the task logs is compared with what the jobs wrote
(:mod:`benchmarks.crashes.check`). The exit code is 1 where a line is missing, or stands twice outside a mark.

* ``task``: SIGKILL of the task's process on the worker, from its first moment to the drain of the log.
* ``triggerer``: SIGKILL of the triggerer with all its processes, and a new one.
* ``emulator``: SIGKILL of the cloud, back after up to five seconds.
* ``retry``: the other ways to a retry: SIGTERM, the task's time-outs, and a user who clears the task.
"""
