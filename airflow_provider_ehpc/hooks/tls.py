# SPDX-License-Identifier: Apache-2.0
"""Trust the same certificates with requests and with aiohttp.

By default, the libraries differ: requests trusts certifi's certificates and reads ``REQUESTS_CA_BUNDLE``,
aiohttp trusts the system's and reads ``SSL_CERT_FILE``. A connection that works on a worker must work in the
triggerer too, so both use a context from this module.
"""

from __future__ import annotations

import functools
import os
import ssl

import certifi

from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.hooks.account import TransportOptions


def tls_context(options: TransportOptions) -> ssl.SSLContext:
    """Return the context for an account's connections.

    The connection's ``verify`` has priority, then, unless ``trust_env`` is off, ``REQUESTS_CA_BUNDLE``,
    ``CURL_CA_BUNDLE``, and ``SSL_CERT_FILE`` with ``SSL_CERT_DIR``, then certifi.

    :raises InvalidArgument: if the certificates cannot be read; it names where they are set.
    """
    if not options.verify:
        return _trusting_all()
    where, file, folder = _source(options)
    try:
        changed = os.stat(file).st_mtime_ns if file else 0
        return _trusting(file, folder, changed)
    except OSError as error:  # ssl.SSLError is one
        reason = "it contains no certificates" if isinstance(error, ssl.SSLError) else error.strerror
    raise InvalidArgument(f"{where}: cannot read CA certificates from {file or folder!r}: {reason}")


def _source(options: TransportOptions) -> tuple[str, str | None, str | None]:
    """Return the name of the setting that applies, its file and its folder."""
    named = {"verify (of the connection)": options.verify if isinstance(options.verify, str) else ""}
    if options.trust_env:
        named |= {name: os.environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    for where, path in named.items():
        if path:
            return (where, None, path) if os.path.isdir(path) else (where, path, None)
    if options.trust_env:
        file, folder = (os.environ.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
        if file or folder:
            return "SSL_CERT_FILE" if file else "SSL_CERT_DIR", file, folder
    return "certifi", certifi.where(), None


@functools.lru_cache(maxsize=1)
def _trusting_all() -> ssl.SSLContext:
    # Without create_default_context, which reads the system's certificates.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


# Reading certifi's file takes some 10 ms; a triggerer makes sessions for hundreds of clusters.
@functools.lru_cache(maxsize=16)
def _trusting(file: str | None, folder: str | None, changed: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=file, capath=folder)
