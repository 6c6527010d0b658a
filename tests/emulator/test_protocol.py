# SPDX-License-Identifier: Apache-2.0
"""The emulator rejects wrong signatures of E-HPC's APIs, before the cloud does."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_provider_ehpc.apis.aliyun import signing
from airflow_provider_ehpc.apis.call import ApiRequest
from airflow_provider_ehpc.emulator.accounts import Accounts, CloudAccount
from airflow_provider_ehpc.emulator.server import Emulator
from airflow_provider_ehpc.emulator.store import Store
from tests.emulator.client import Change, Client, with_header, without_header


def test_a_rightly_signed_request_is_answered(client: Client) -> None:
    answer = client.send("ListJobs")

    assert answer.status == 200
    assert re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", answer.json["RequestId"])


def test_an_error_has_the_gateways_form(client: Client) -> None:
    answer = client.send("NoSuchOperation")

    assert answer.status == 404
    assert answer.json.keys() == {"RequestId", "HostId", "Code", "Message", "Recommend"}
    assert answer.json["HostId"] == client.emulator.url.removeprefix("http://")


def _flip_signature(request: ApiRequest) -> ApiRequest:
    authorization = request.headers["authorization"]
    last = format(int(authorization[-1], 16) ^ 1, "x")
    return replace(request, headers={**request.headers, "authorization": authorization[:-1] + last})


def _alter_query(request: ApiRequest) -> ApiRequest:
    return replace(request, query={**request.query, "ClusterId": request.query["ClusterId"] + "x"})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_flip_signature, id="one-bit-of-the-signature"),
        pytest.param(_alter_query, id="a-parameter"),
        pytest.param(lambda request: replace(request, method="GET"), id="the-method"),
        pytest.param(lambda request: replace(request, body=b"x"), id="the-body"),
        pytest.param(with_header("x-acs-action", "ListJobs"), id="the-action"),
        pytest.param(with_header("x-acs-signature-nonce", "0" * 32), id="the-nonce"),
        pytest.param(with_header("x-acs-content-sha256", "0" * 64), id="the-digest"),
        pytest.param(with_header("host", "127.0.0.1"), id="the-host"),
    ],
)
def test_what_was_altered_after_signing_is_refused(client: Client, change: Change) -> None:
    answer = client.send("GetJob", {"JobId": "1.manager"}, after=change)

    assert answer.refusal == (400, "SignatureDoesNotMatch")
    assert answer.json["Message"].startswith("Specified signature is not matched with our calculation.")


def test_a_wrong_secret_is_refused(ehpc_emulator: Emulator) -> None:
    first = ehpc_emulator.accounts.first
    thief = Client(ehpc_emulator, CloudAccount(first.access_key_id, first.secret + "x"))

    assert thief.refusal("ListJobs") == (400, "SignatureDoesNotMatch")


def test_the_secret_is_not_in_the_refusal(client: Client) -> None:
    answer = client.send("ListJobs", after=_flip_signature)

    assert client.account.secret.encode() not in answer.body


def test_an_unknown_key_is_refused(ehpc_emulator: Emulator) -> None:
    stranger = Client(ehpc_emulator, CloudAccount("LTAI5tNobody", "secret"))

    assert stranger.refusal("ListJobs") == (404, "InvalidAccessKeyId.NotFound")


@pytest.mark.parametrize(
    "name", ["authorization", "x-acs-date", "x-acs-signature-nonce", "x-acs-content-sha256"]
)
def test_a_missing_header_is_an_incomplete_signature(client: Client, name: str) -> None:
    answer = client.send("ListJobs", after=without_header(name))

    assert answer.refusal == (400, "IncompleteSignature")
    assert name in answer.json["Message"].lower()


@pytest.mark.parametrize(
    "name", ["host", "x-acs-action", "x-acs-version", "x-acs-date", "x-acs-signature-nonce"]
)
def test_a_header_that_matters_has_to_be_signed(client: Client, name: str) -> None:
    """Otherwise, a request could be replayed as another operation, or at another time."""

    def sign_less(request: ApiRequest) -> ApiRequest:
        signed = [n for n in sorted(request.headers) if n.startswith("x-acs-") or n == "host"]
        signed.remove(name)
        canonical = signing.canonical_request(request, signed)
        authorization = (
            f"{signing.ALGORITHM} Credential={client.account.access_key_id},SignedHeaders={';'.join(signed)},"
            f"Signature={signing.signature(client.account.secret, canonical)}"
        )
        return replace(request, headers={**request.headers, "authorization": authorization})

    assert client.send("ListJobs", after=sign_less).refusal == (400, "IncompleteSignature")


@pytest.mark.parametrize("skew", [-16 * 60, 16 * 60])
def test_a_request_from_a_wrong_clock_is_refused(client: Client, skew: int) -> None:
    assert client.send("ListJobs", skew=skew).refusal == (400, "InvalidTimeStamp.Expired")


@pytest.mark.parametrize("skew", [-14 * 60, 14 * 60])
def test_a_clock_a_few_minutes_off_is_good_enough(client: Client, skew: int) -> None:
    assert client.send("ListJobs", skew=skew).status == 200


def test_a_date_in_another_form_is_refused(client: Client) -> None:
    change = with_header("x-acs-date", "Sat, 21 Nov 2026 02:00:00 GMT")

    assert client.send("ListJobs", after=change).refusal == (400, "InvalidTimeStamp.Format")


def test_a_nonce_serves_once(client: Client) -> None:
    """The emulator rejects a signed request that a client sends twice."""
    nonce = uuid.uuid4().hex

    assert client.send("ListJobs", nonce=nonce).status == 200
    assert client.send("ListJobs", nonce=nonce).refusal == (400, "SignatureNonceUsed")


def test_a_nonce_of_a_refused_request_is_not_used_up(client: Client) -> None:
    """Otherwise, anybody could use up the nonces of a key without its secret."""
    nonce = uuid.uuid4().hex

    assert client.send("ListJobs", nonce=nonce, after=_flip_signature).status == 400
    assert client.send("ListJobs", nonce=nonce).status == 200


def test_an_unknown_operation_and_an_unknown_version_have_different_errors(client: Client) -> None:
    assert client.send("DeleteJobs").refusal == (404, "InvalidAction.NotFound")
    assert client.send("GetJob", version="2099-01-01").refusal == (400, "InvalidVersion")


def test_a_temporary_key_works_with_its_token(ehpc_emulator: Emulator) -> None:
    assert Client(ehpc_emulator, ehpc_emulator.issue_token()).send("ListJobs").status == 200


def test_a_temporary_key_needs_its_token(ehpc_emulator: Emulator) -> None:
    account = replace(ehpc_emulator.issue_token(), security_token=None)

    assert Client(ehpc_emulator, account).refusal("ListJobs") == (400, "MissingSecurityToken")


def test_the_token_has_to_be_the_keys_own(ehpc_emulator: Emulator) -> None:
    code = "InvalidSecurityToken.MismatchWithAccessKey"
    other = ehpc_emulator.issue_token().security_token
    temporary = replace(ehpc_emulator.issue_token(), security_token=other)
    lasting = replace(ehpc_emulator.accounts.first, security_token=other)

    assert Client(ehpc_emulator, temporary).refusal("ListJobs") == (400, code)
    assert Client(ehpc_emulator, lasting).refusal("ListJobs") == (400, code)


def test_an_expired_token_is_refused(ehpc_emulator: Emulator) -> None:
    expired = Client(ehpc_emulator, ehpc_emulator.issue_token(seconds=-1))

    assert expired.refusal("ListJobs") == (400, "InvalidSecurityToken.Expired")


def test_a_denied_operation_is_refused_and_nothing_else(client: Client) -> None:
    client.emulator.deny("CreateJob")

    assert client.refusal("CreateJob") == (407, "NotAuthorized")
    assert client.send("ListJobs").status == 200
    client.emulator.deny()
    assert client.refusal("CreateJob") == (400, "InvalidParams")


def test_further_headers_may_be_signed(client: Client) -> None:
    assert client.send("ListJobs", before=with_header("content-type", "text/plain")).status == 200


def test_nonces_do_not_pile_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark with a million requests must not fill the memory."""
    monkeypatch.setattr("airflow_provider_ehpc.emulator.aliyun.protocol._MAX_NONCES", 3)
    nonces = [uuid.uuid4().hex for _ in range(5)]
    for nonce in nonces:
        assert client.send("ListJobs", nonce=nonce).status == 200

    assert client.send("ListJobs", nonce=nonces[0]).status == 200
    assert client.send("ListJobs", nonce=nonces[-1]).refusal == (400, "SignatureNonceUsed")


def test_keys_are_random_and_last_with_their_directory(tmp_path: Path) -> None:
    """With a well-known key, every user of the machine could run commands as the emulator's user."""

    def first_key(name: str) -> tuple[str, str]:
        store = Store(tmp_path / f"{name}.sqlite")
        try:
            first = Accounts(store).first
        finally:
            store.close()
        return first.access_key_id, first.secret

    assert first_key("a") == first_key("a")
    assert not set(first_key("a")) & set(first_key("b"))
