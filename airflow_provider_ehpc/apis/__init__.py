"""What each cloud says: requests, typed responses, state words, errors, signing.

Pure: nothing in here imports Airflow, opens a socket, reads a clock or draws a random number.
An operation is a function that returns an :class:`~airflow_provider_ehpc.apis.call.ApiCall`;
logic that needs several calls is a generator that yields them (:data:`~.call.Flow`).
"""
