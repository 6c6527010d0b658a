# SPDX-License-Identifier: Apache-2.0
"""Signature V3, compared with Alibaba Cloud's documentation and requests of its SDK (``tests/vectors``)."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.aliyun.signing import (
    DATE_FORMAT,
    Acs3Signer,
    canonical_request,
    parse_authorization,
    signature,
)
from airflow_provider_ehpc.apis.call import ApiRequest, Credentials

_VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "aliyun-acs3-hmac-sha256.json").read_text())
_META = _VECTORS["meta"]
_PUBLISHED = _VECTORS["published_vector"]
_RECORDED = _VECTORS["recorded_from_official_sdk"]


def _recorded_request(vector: dict[str, Any]) -> tuple[ApiRequest, dict[str, str]]:
    headers = {name.lower(): value for name, value in vector["headers"]}
    request = ApiRequest(vector["method"], vector["path"], vector["query"], headers, vector["body"].encode())
    return request, dict(parse_authorization(headers["authorization"]))


def _signed_published() -> ApiRequest:
    request = ApiRequest(
        _PUBLISHED["method"],
        "/",
        _PUBLISHED["query"],
        {"x-acs-action": _PUBLISHED["x-acs-action"], "x-acs-version": _PUBLISHED["x-acs-version"]},
    )
    signer = Acs3Signer(Credentials(_PUBLISHED["access_key_id"], _PUBLISHED["access_key_secret"]))
    now = datetime.strptime(_PUBLISHED["x-acs-date"], DATE_FORMAT).replace(tzinfo=UTC)
    return signer.sign(request, host=_PUBLISHED["host"], now=now, nonce=_PUBLISHED["x-acs-signature-nonce"])


def test_the_published_example_is_signed_as_the_documentation_shows_it() -> None:
    """Otherwise the cloud rejects every request with SignatureDoesNotMatch."""
    signed = _signed_published()
    authorization = parse_authorization(signed.headers["authorization"])
    canonical = canonical_request(signed, authorization["SignedHeaders"].split(";"))

    assert hashlib.sha256(canonical.encode()).hexdigest() == _PUBLISHED["hashed_canonical_request"]
    assert authorization["Signature"] == _PUBLISHED["signature"]
    assert authorization["Credential"] == _PUBLISHED["access_key_id"]


@pytest.mark.parametrize("vector", _RECORDED, ids=[vector["name"] for vector in _RECORDED])
def test_requests_of_the_vendors_sdk_are_reproduced_byte_for_byte(vector: dict[str, Any]) -> None:
    """Encodings differ for spaces, stars, Chinese and nested JSON in a query."""
    request, authorization = _recorded_request(vector)

    canonical = canonical_request(request, authorization["SignedHeaders"].split(";"))

    assert canonical == vector["canonical_request"]
    assert signature(_META["access_key_secret"], canonical) == authorization["Signature"]


@pytest.mark.parametrize("vector", _RECORDED, ids=[vector["name"] for vector in _RECORDED])
def test_our_smaller_set_of_headers_is_signed_as_the_sdk_does(vector: dict[str, Any]) -> None:
    """The signer signs fewer headers than the SDK; query, host, token and digest must be the same."""
    recorded, authorization = _recorded_request(vector)
    token = _META["security_token"] if "x-acs-security-token" in recorded.headers else None
    signer = Acs3Signer(Credentials(_META["access_key_id"], _META["access_key_secret"], token))
    headers = {name: recorded.headers[name] for name in ("accept", "x-acs-action", "x-acs-version")}
    now = datetime.strptime(_META["timestamp"], DATE_FORMAT).replace(tzinfo=UTC)

    signed = signer.sign(
        ApiRequest(recorded.method, recorded.path, recorded.query, headers, recorded.body),
        host=_META["endpoint"],
        now=now,
        nonce=_META["nonce"],
    )

    ours = parse_authorization(signed.headers["authorization"])
    assert set(ours["SignedHeaders"].split(";")) <= set(authorization["SignedHeaders"].split(";"))
    for name in ours["SignedHeaders"].split(";"):
        assert signed.headers[name] == recorded.headers[name]
    canonical = canonical_request(signed, ours["SignedHeaders"].split(";"))
    assert canonical.split("\n")[2] == vector["canonical_request"].split("\n")[2]
    assert ours["Signature"] == signature(_META["access_key_secret"], canonical)


@given(st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9.]{0,9}", fullmatch=True), st.text(max_size=20)))
@example(
    {"VSwitchId": "v", "Container": "c", "JobIds.2": "b", "JobIds.10": "a", "jobs": "x", "ClusterId": ""}
)
@example({"Z": "a b+c*d~e/f=g&h%i", "A": "\u4e2d\U0001f600'()!-_.\n\x7f"})
def test_the_vendors_signer_agrees_on_any_query(query: dict[str, str]) -> None:
    """Parameters are signed in the order of their names, but the vectors contain only sorted ones."""
    signer = Acs3Signer(Credentials("key", "secret"))
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    signed = signer.sign(ApiRequest("POST", "/", query), host="h", now=now, nonce="0" * 32)
    names = parse_authorization(signed.headers["authorization"])["SignedHeaders"].split(";")

    request = DaraRequest()
    request.method, request.pathname, request.query = "POST", "/", query
    request.headers = {name: signed.headers[name] for name in names}
    digest = signed.headers["x-acs-content-sha256"]
    expected = Utils.get_authorization(request, "ACS3-HMAC-SHA256", digest, "key", "secret")

    assert signed.headers["authorization"] == expected


def test_a_changed_bit_anywhere_changes_the_signature() -> None:
    """If the signature did not cover a part of the request, that part could be altered in transit."""
    signed = _signed_published()
    secret = _PUBLISHED["access_key_secret"]
    names = parse_authorization(signed.headers["authorization"])["SignedHeaders"].split(";")
    original = signature(secret, canonical_request(signed, names))

    def altered(**changes: Any) -> str:
        request = ApiRequest(
            **{
                "method": signed.method,
                "path": signed.path,
                "query": signed.query,
                "headers": signed.headers,
                **changes,
            }
        )
        return signature(secret, canonical_request(request, names))

    changed = [altered(method="GET"), altered(path="/a")]
    changed += [altered(query={**signed.query, name: _flip(value)}) for name, value in signed.query.items()]
    changed += [altered(headers={**signed.headers, name: _flip(signed.headers[name])}) for name in names]
    changed.append(signature(_flip(secret), canonical_request(signed, names)))

    assert original not in changed
    assert len(set(changed)) == len(changed)


def _flip(text: str) -> str:
    """Return the text with the lowest bit of its last character flipped."""
    return text[:-1] + chr(ord(text[-1]) ^ 1)


def test_unsigned_headers_may_change_in_transit() -> None:
    """A proxy that rewrites User-Agent or Accept must not break the signature."""
    signed = _signed_published()
    signed_headers = parse_authorization(signed.headers["authorization"])["SignedHeaders"].split(";")

    assert "user-agent" not in signed_headers
    assert "accept" not in signed_headers


@pytest.mark.parametrize(
    "header",
    ["", "Basic dXNlcg==", "ACS3-HMAC-SHA256 Credential=a,Signature=b", "ACS3-RSA-SHA256 Credential=a"],
)
def test_another_kind_of_authorization_is_rejected(header: str) -> None:
    """The emulator must not accept a request that is not signed."""
    with pytest.raises(ValueError, match="not an ACS3-HMAC-SHA256"):
        parse_authorization(header)
