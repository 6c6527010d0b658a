# SPDX-License-Identifier: Apache-2.0
"""SDK-HMAC-SHA256, Huawei Cloud's signature with an access key and a secret key.

Source: the API Request Signing Guide and the signer of ``huaweicloudsdkcore`` 3.1.219;
``tests/vectors/huawei-sdk-hmac-sha256.json`` holds the signatures of both. The emulator checks signatures
with these same functions, so only the vendor's vectors prove that they are correct.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import unquote

from airflow_provider_ehpc.apis.call import ApiRequest, Credentials, encode_query, percent_encode

ALGORITHM = "SDK-HMAC-SHA256"
DATE_FORMAT = "%Y%m%dT%H%M%SZ"
# Only the date must be signed. The vendor's signer signs all headers, and fails behind a proxy that rewrites
# User-Agent. These headers are signed if present, because they determine what is requested, and by whom.
_SIGNED = frozenset({"content-type", "host", "x-project-id", "x-sdk-date", "x-security-token"})


def canonical_request(request: ApiRequest, signed_headers: Iterable[str]) -> str:
    """Return the text whose digest is signed.

    ``request.headers`` must hold every name in ``signed_headers``, which are lower-case and sorted.
    """
    headers = {name.lower(): value.strip() for name, value in request.headers.items()}
    names = list(signed_headers)
    path = "/".join(percent_encode(unquote(segment)) for segment in request.path.split("/"))
    query = encode_query(dict(sorted(request.query.items())))
    return "\n".join(
        (
            request.method,
            # The gateway signs the path with a slash at the end, which the request itself does not have.
            path if path.endswith("/") else f"{path}/",
            query,
            "".join(f"{name}:{headers[name]}\n" for name in names),
            ";".join(names),
            hashlib.sha256(request.body).hexdigest(),
        )
    )


def signature(secret: str, date: str, canonical: str) -> str:
    """Return the hexadecimal signature of a canonical request made at ``date`` (``DATE_FORMAT``)."""
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return hmac.new(secret.encode(), f"{ALGORITHM}\n{date}\n{digest}".encode(), hashlib.sha256).hexdigest()


def parse_authorization(header: str) -> Mapping[str, str]:
    """Split an ``Authorization`` header into ``Access``, ``SignedHeaders`` and ``Signature``.

    :raises ValueError: if it is not of this algorithm.
    """
    algorithm, _, rest = header.partition(" ")
    parts = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
    if algorithm != ALGORITHM or not {"Access", "SignedHeaders", "Signature"} <= parts.keys():
        raise ValueError(f"not an {ALGORITHM} authorization")
    return parts


@dataclass(frozen=True, slots=True)
class SdkHmacSigner:
    """A signer with an access key, or with a temporary one and its security token."""

    credentials: Credentials

    def sign(self, request: ApiRequest, *, host: str, now: datetime, nonce: str) -> ApiRequest:
        """See :class:`~airflow_provider_ehpc.apis.call.Signer`.

        This algorithm has no nonce: a signature can be used again for 15 minutes.
        """
        date = now.astimezone(UTC).strftime(DATE_FORMAT)
        headers = {name.lower(): value for name, value in request.headers.items()}
        headers |= {"host": host, "x-sdk-date": date}
        if self.credentials.security_token:
            headers["x-security-token"] = self.credentials.security_token
        signed = sorted(_SIGNED & headers.keys())
        canonical = canonical_request(replace(request, headers=headers), signed)
        proof = signature(self.credentials.secret, date, canonical)
        headers["authorization"] = (
            f"{ALGORITHM} Access={self.credentials.access_key_id}, "
            f"SignedHeaders={';'.join(signed)}, "
            f"Signature={proof}"
        )
        return replace(request, headers=headers, confidential=(proof,))
