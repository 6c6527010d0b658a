# SPDX-License-Identifier: Apache-2.0
"""The signature, compared with those of the vendor's SDK and signing guide."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_ehpc.apis.call import ApiRequest, Credentials, percent_encode
from airflow_provider_ehpc.apis.huawei.signing import (
    DATE_FORMAT,
    SdkHmacSigner,
    canonical_request,
    parse_authorization,
    signature,
)

VECTORS = json.loads(
    (Path(__file__).parents[2] / "vectors" / "huawei-sdk-hmac-sha256.json").read_text(encoding="utf-8")
)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def request_of(vector: dict[str, Any]) -> ApiRequest:
    given = vector["input"]
    headers = {name: value for name, value in given["headers"].items() if name != "X-Sdk-Date"}
    if given["project_id"]:
        headers["X-Project-Id"] = given["project_id"]
    query = {name: str(value) for name, value in given["query"]}
    return ApiRequest(given["method"], given["path"], query, headers, (given["body"] or "").encode())


def signed(vector: dict[str, Any], **changes: Any) -> ApiRequest:
    given = vector["input"]
    credentials = Credentials(given["ak"], given["sk"], given["security_token"])
    request = dataclasses.replace(request_of(vector), **changes)
    date = datetime.strptime(given["headers"]["X-Sdk-Date"], DATE_FORMAT).replace(tzinfo=UTC)
    return SdkHmacSigner(credentials).sign(request, host=given["host"], now=date, nonce="0" * 32)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
class TestVectors:
    def test_authorization(self, vector: dict[str, Any]) -> None:
        """With a wrong signature, every request is rejected, and after five the key is locked."""
        sent = signed(vector)
        assert sent.headers["authorization"] == vector["output_headers"]["Authorization"]
        assert {name: value for name, value in sent.headers.items() if name != "authorization"} == {
            name.lower(): value for name, value in vector["output_headers"].items() if name != "Authorization"
        }

    def test_canonical_request(self, vector: dict[str, Any]) -> None:
        """If a signature differs, this test shows the line with the difference."""
        sent = signed(vector)
        names = parse_authorization(sent.headers["authorization"])["SignedHeaders"].split(";")
        canonical = canonical_request(sent, names)
        assert canonical == vector["canonical_request"]
        given = vector["input"]
        assert signature(given["sk"], given["headers"]["X-Sdk-Date"], canonical) == vector["signature"]

    def test_target_is_what_the_sdk_sends(self, vector: dict[str, Any]) -> None:
        """A space must be sent as %20: a gateway that does not decode + computes another signature."""
        path, _, query = request_of(vector).target.partition("?")
        expected_path, _, expected = (
            vector["signed_request_url"].split(vector["input"]["host"], 1)[1].partition("?")
        )
        assert path == expected_path
        assert sorted(query.split("&")) == sorted(expected.split("&"))


@given(
    st.dictionaries(st.text(min_size=1, max_size=9), st.text(max_size=20)),
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="/%"), max_size=9), max_size=3),
    st.binary(max_size=20),
)
@example(
    {"offset": "2048", "log_file": "a b+c*d~e/f=g&h%i", "Z": "\u4e2d'()!-_.", "start_byte": ""},
    ["p 1"],
    b"{}",
)
def test_the_vendors_signer_agrees_on_any_request(
    query: dict[str, str], segments: list[str], body: bytes
) -> None:
    """Parameters are signed in the order of their names, in whatever order they are passed."""
    path = "/".join(["/v1", *map(percent_encode, segments)])
    request = ApiRequest("POST", path, query, {"content-type": "application/json"}, body)
    sent = SdkHmacSigner(Credentials("ak", "sk")).sign(request, host="h", now=NOW, nonce="")
    judged = SdkRequest(
        method="POST",
        host="h",
        resource_path=path,
        query_params=list(query.items()),
        header_params={"content-type": "application/json", "X-Sdk-Date": sent.headers["x-sdk-date"]},
        body=body,
    )
    Signer(BasicCredentials("ak", "sk", "p")).sign(judged)
    assert sent.headers["authorization"] == judged.header_params["Authorization"]


def test_only_host_and_date_are_needed() -> None:
    """The gateway documents x-sdk-date as the only header that must be signed. A proxy may remove others."""
    vector = next(v for v in VECTORS if v["name"] == "v1-log-seed-sample")
    authorization = signed(vector, headers={}).headers["authorization"]
    assert parse_authorization(authorization) == {
        "Access": "AKEXAMPLE00000000000",
        "SignedHeaders": "host;x-sdk-date",
        "Signature": "b544b17bf89ca8a4d98f33f8f9f4074e6336df6e9e695fe78f4e650d4343f02b",
    }


def test_headers_that_proxies_rewrite_are_not_signed() -> None:
    """A proxy that changes User-Agent or Accept must not break every signature."""
    request = ApiRequest("GET", "/v2/p/training-jobs/1", headers={"User-Agent": "x", "Accept": "y"})
    sent = SdkHmacSigner(Credentials("ak", "sk")).sign(request, host="h", now=NOW, nonce="")
    assert parse_authorization(sent.headers["authorization"])["SignedHeaders"] == "host;x-sdk-date"


def test_time_is_signed_in_utc() -> None:
    """A machine in Shanghai would be eight hours off, and the gateway tolerates 15 minutes."""
    there = NOW.astimezone(timezone(timedelta(hours=8)))
    sent = SdkHmacSigner(Credentials("ak", "sk")).sign(ApiRequest("GET", "/"), host="h", now=there, nonce="")
    assert sent.headers["x-sdk-date"] == "20260102T030405Z"


def test_path_is_signed_as_it_is_sent_and_not_encoded_twice() -> None:
    """Otherwise an ID with a character outside of ASCII would be rejected."""
    request = ApiRequest("GET", "/v2/p/training-jobs/%E8%AE%AD")
    assert canonical_request(request, []).split("\n")[1] == "/v2/p/training-jobs/%E8%AE%AD/"


@pytest.mark.parametrize("header", ["", "Bearer x", "SDK-HMAC-SHA256 Access=a, Signature=b"])
def test_other_authorizations_are_rejected(header: str) -> None:
    """The emulator must reject them, not crash."""
    with pytest.raises(ValueError, match="SDK-HMAC-SHA256"):
        parse_authorization(header)
