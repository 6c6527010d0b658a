# SPDX-License-Identifier: Apache-2.0
"""Sign requests with ACS3-HMAC-SHA256, Alibaba Cloud's signature V3.

Source: "V3 request body & signature" of the OpenAPI user guide, and the requests of
``alibabacloud-tea-openapi`` 0.4.6. Both are recorded in ``tests/vectors/aliyun-acs3-hmac-sha256.json``. The
emulator checks signatures with the same functions, so only the comparison with the vendor's SDK proves them
right.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from airflow_provider_ehpc.apis.call import ApiRequest, Credentials, encode_query

ALGORITHM = "ACS3-HMAC-SHA256"
DATE_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def canonical_request(request: ApiRequest, signed_headers: Iterable[str]) -> str:
    """Return the text whose digest is signed.

    ``request.headers`` must contain all ``signed_headers``, which are lower-case and sorted, and
    ``x-acs-content-sha256``.
    """
    headers = {name.lower(): value.strip() for name, value in request.headers.items()}
    names = list(signed_headers)
    query = encode_query(dict(sorted(request.query.items())))
    return "\n".join(
        (
            request.method,
            request.path,
            query,
            "".join(f"{name}:{headers[name]}\n" for name in names),
            ";".join(names),
            headers["x-acs-content-sha256"],
        )
    )


def signature(secret: str, canonical: str) -> str:
    """Return the hexadecimal signature of a canonical request."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return hmac.new(secret.encode(), f"{ALGORITHM}\n{digest}".encode(), hashlib.sha256).hexdigest()


def parse_authorization(header: str) -> Mapping[str, str]:
    """Split an ``Authorization`` header into ``Credential``, ``SignedHeaders`` and ``Signature``.

    :raises ValueError: if the header is not one of this algorithm.
    """
    algorithm, _, rest = header.partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    if algorithm != ALGORITHM or not {"Credential", "SignedHeaders", "Signature"} <= parts.keys():
        raise ValueError(f"not an {ALGORITHM} authorization")
    return parts


@dataclass(frozen=True, slots=True)
class Acs3Signer:
    """Signer with an access key, or with a temporary access key and its security token."""

    credentials: Credentials

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`.

        Only ``host``, ``content-type`` and ``x-acs-*`` are signed, so that a proxy may rewrite the rest.
        """
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers |= {
            "host": host,
            "x-acs-date": now.astimezone(UTC).strftime(DATE_FORMAT),
            "x-acs-signature-nonce": nonce,
            "x-acs-content-sha256": hashlib.sha256(request.body).hexdigest(),
        }
        if self.credentials.security_token:
            headers["x-acs-accesskey-id"] = self.credentials.access_key_id
            headers["x-acs-security-token"] = self.credentials.security_token
        signed = sorted(n for n in headers if n in ("host", "content-type") or n.startswith("x-acs-"))
        canonical = canonical_request(replace(request, headers=headers), signed)
        proof = signature(self.credentials.secret, canonical)
        headers["authorization"] = (
            f"{ALGORITHM} Credential={self.credentials.access_key_id},"
            f"SignedHeaders={';'.join(signed)},"
            f"Signature={proof}"
        )
        return replace(request, headers=headers, confidential=(proof,))
