# SPDX-License-Identifier: Apache-2.0
"""The signature of QingCloud's HPC API.

It differs from the signature of QingCloud's other APIs: a fourth line holds the body's MD5, the signed path
ends in ``/`` although the requested one does not, the time parameter is ``timestamp``, and the signature is
encoded twice. Source: the page on signatures of the HPC API reference (2023-09-06). Its example is in
``tests/vectors/qingcloud-hpc-hmac-sha256.json``; the result is that of zone ``jn1a``, not of the zone on the
page. The page encodes a space as ``%20`` in its text and as ``+`` in its code, and does not mention slashes.
This module does the same as the vendor's client (``qingcloud-hpc`` 0.0.1, request.py), which signs ``%20``
and leaves slashes unchanged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import quote, unquote_plus

from airflow_provider_ehpc.apis.call import (
    ApiRequest,
    Credentials,
    InvalidArgument,
    percent_encode,
)

SIGNATURE_METHOD = "HmacSHA256"
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
LIFETIME = 60
"""Seconds after its timestamp for which the cloud accepts a request; after that, it returns 1300."""


def string_to_sign(request: ApiRequest, encode: Callable[[str], str] = quote) -> str:
    """Return the text that is signed. It does not contain a signature in ``request.query``.

    :param encode: encodes names and values of the query.
    """
    query = sorted((name, value) for name, value in request.query.items() if name != "signature")
    return "\n".join(
        (
            request.method,
            request.path.rstrip("/") + "/",
            "&".join(f"{encode(name)}={encode(value)}" for name, value in query),
            hashlib.md5(request.body, usedforsecurity=False).hexdigest(),
        )
    )


def signature(secret: str, text: str) -> str:
    """Return the signature of a text in Base64."""
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def sent_signature(query: Mapping[str, str]) -> str:
    """Return the signature in a received query that was decoded once; empty if it has none."""
    # Decoded a second time like a form, because the documentation's code encodes twice with quote_plus. A
    # signature with a plus that was encoded only once does not match.
    return unquote_plus(query.get("signature", ""))


@dataclass(frozen=True, slots=True)
class HpcSigner:
    """A signer with an access key.

    :raises InvalidArgument: for a temporary key, because the API's use of tokens is not documented.
    """

    credentials: Credentials

    def __post_init__(self) -> None:
        if self.credentials.security_token:
            raise InvalidArgument("security_token: the QingCloud HPC API accepts only permanent access keys")

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`; host and nonce are not signed here."""
        query = {
            **request.query,
            "access_key_id": self.credentials.access_key_id,
            "signature_method": SIGNATURE_METHOD,
            "signature_version": "1",
            "timestamp": now.astimezone(UTC).strftime(TIME_FORMAT),
            "version": "1",
        }
        signed = replace(request, query=dict(sorted(query.items())))
        # According to the page's text, the signature is encoded once. Its code and its example encode it
        # twice: here, and in the URL. If the server decodes it twice, a "+" that is encoded once becomes a
        # space.
        proof = percent_encode(signature(self.credentials.secret, string_to_sign(signed)))
        return replace(signed, query={**signed.query, "signature": proof}, confidential=(proof,))
