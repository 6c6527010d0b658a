"""The audit of what was done to clusters: read a window completely, judge it, write it down.

Pure but for the writing: :func:`~.window.read_window` and :func:`~.pending.complete` are flows over an
:class:`~airflow_provider_ehpc.apis.operation.OperationSource`, :func:`~.rules.judge` compares, and
:func:`~.sinks.write_audit` writes to a directory of any store. Nothing in here imports Airflow.
"""
