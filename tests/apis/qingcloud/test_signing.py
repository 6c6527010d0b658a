# SPDX-License-Identifier: Apache-2.0
"""QingCloud's HPC signature, compared with those in its documentation and of the vendor's code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from airflow_provider_ehpc.apis.call import ApiRequest, Credentials, InvalidArgument
from airflow_provider_ehpc.apis.qingcloud.signing import (
    HpcSigner,
    sent_signature,
    signature,
    string_to_sign,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "qingcloud-hpc-hmac-sha256.json").read_text()
)
KEY = Credentials(VECTORS["meta"]["access_key_id"], VECTORS["meta"]["secret_access_key"])
OFFICIAL = VECTORS["official_vector"]
SIGNED_AT = datetime(2021, 8, 19, 16, 44, 40, tzinfo=UTC)


def _official() -> ApiRequest:
    request = ApiRequest(OFFICIAL["method"], OFFICIAL["path"], {"zone": OFFICIAL["zone"]})
    return HpcSigner(KEY).sign(request, host="hpc.api.qingcloud.com", now=SIGNED_AT, nonce="0" * 32)


def _operation(parameters: str) -> ApiRequest:
    query = {name: str(value) for name, value in VECTORS["operation_vectors"][parameters].items()}
    return ApiRequest("GET", "/api/operation", query)


def test_the_documented_example_is_signed_as_documented() -> None:
    """QingCloud publishes only this signature. With a wrong signature, every request returns 1200."""
    assert sent_signature(_official().query) == OFFICIAL["signature_b64"]


def test_the_url_has_the_signature_encoded_twice_and_no_slash_at_the_end_of_the_path() -> None:
    """Encoded once, a signature with a plus (about every second one) would be rejected."""
    target = _official().target
    assert target.startswith("/api/cluster/list?access_key_id=QYACCESSKEYIDEXAMPLE&")
    assert target.endswith("&signature=W68niby0THV%252BXsKcRxuGblFm2a4XbTdto129JkSH2%252FM%253D")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("params_without_search_word", "signature_b64_without_search_word"),
        ("params_full", "signature_b64_full_space_as_%20"),
    ],
)
def test_operation_queries_are_signed_as_by_the_vendors_code(parameters: str, expected: str) -> None:
    """Chinese text, quotes and asterisks in a query must not break its signature."""
    assert (
        signature(KEY.secret, string_to_sign(_operation(parameters)))
        == VECTORS["operation_vectors"][expected]
    )


def test_the_signature_differs_from_that_of_other_qingcloud_apis() -> None:
    """Without the MD5 line, it would be the IaaS signature, which this API rejects."""
    text = string_to_sign(_operation("params_full"))
    right = signature(KEY.secret, text)
    assert right != VECTORS["wrong_scheme_must_not_match"]["signature_b64"]
    assert signature(KEY.secret, text.rsplit("\n", 1)[0]) != right
    assert signature(KEY.secret, text.replace("/operation/", "/operation")) != right


def test_the_signature_covers_the_body() -> None:
    """The signature must not be valid for a command that a proxy changed."""
    one = ApiRequest("POST", "/api/job/submitJob", {"zone": "jn1a"}, body=b'{"cmd_line": "hostname"}')
    other = replace(one, body=b'{"cmd_line": "rm -r /"}')
    assert string_to_sign(one) != string_to_sign(other)


def test_the_timestamp_is_in_utc() -> None:
    """The documentation's code sends local time with a Z, which is rejected as expired outside of UTC."""
    request = ApiRequest("GET", "/api/operation")
    local = SIGNED_AT.astimezone(timezone(timedelta(hours=8)))
    signed = HpcSigner(KEY).sign(request, host="h", now=local, nonce="0" * 32)
    assert signed.query["timestamp"] == OFFICIAL["timestamp"]


def test_a_received_request_is_verified_with_the_same_functions() -> None:
    """The emulator verifies requests in this way."""
    url = urlsplit(_official().target)
    received = ApiRequest("GET", url.path, dict(parse_qsl(url.query)))
    assert signature(KEY.secret, string_to_sign(received)) == sent_signature(received.query)
    forged = replace(received, query={**received.query, "zone": "pek3"})
    assert signature(KEY.secret, string_to_sign(forged)) != sent_signature(forged.query)


def test_a_temporary_key_is_an_error_before_any_request() -> None:
    """Without its token, the cloud would reject a valid key."""
    with pytest.raises(InvalidArgument, match="security_token"):
        HpcSigner(Credentials("id", "secret", "token"))
