# SPDX-License-Identifier: Apache-2.0
"""The clouds' APIs: requests, typed responses, state words, errors and signatures.

Pure: nothing in this package imports Airflow, opens a socket, reads a clock or draws a random number.
An operation is a function that returns an :class:`~airflow_provider_ehpc.apis.call.ApiCall`. Logic that needs
several calls is a generator that yields them (:data:`~.call.Flow`).
"""
