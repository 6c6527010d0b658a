# SPDX-License-Identifier: Apache-2.0
"""Temporary keys of an agency, from the metadata service of Huawei Cloud's ECS.

Source: "Obtaining Metadata" of the ECS user guide (``/openstack/latest/securitykey``), and the
``MetadataAccessor`` of ``huaweicloudsdkcore`` 3.1.219: a session token is requested first, and servers whose
metadata service does not have any respond with 404, 405 or 503.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import AliasChoices, Field

from airflow_provider_ehpc.apis.call import (
    ApiCall,
    ApiError,
    ApiRequest,
    ApiResponse,
    AuthenticationFailed,
    Credentials,
    ForeignResponse,
    ServiceUnavailable,
    UnexpectedResponse,
    foreign,
)
from airflow_provider_ehpc.apis.response import ResponseModel, Text, Time, json_object, read_model

ENDPOINT = "http://169.254.169.254"
_TOKEN_LIFE = 60
"""Seconds. A token is used at once."""
_TOKEN = re.compile(r"[\w+/=.:~-]{12,}", re.ASCII)
"""Anything else is the page of another server."""
_NO_TOKENS = (404, 405, 503)
_HINT = (
    "Configure an agency for this ECS (console: ECS, Management Information, Agency) that may use ModelArts, "
    "or set the connection's login and password, and credentials to access_key."
)


@dataclass(frozen=True, slots=True)
class AgencyKey:
    """A temporary key and its expiry time."""

    credentials: Credentials
    expires_at: datetime


class SecurityKey(ResponseModel):
    """A temporary key, as the metadata service describes it."""

    access: Text = ""
    secret: Text = ""
    security_token: Text = Field(
        default="", validation_alias=AliasChoices("securitytoken", "securityToken", "security_token")
    )
    expires_at: Time = None


class SecurityKeyResponse(ResponseModel):
    """Body of the response of ``/openstack/latest/securitykey``."""

    credential: SecurityKey = Field(default_factory=SecurityKey)


def create_session_token() -> ApiCall[str]:
    """Create the session token that requests to the metadata service carry; empty if it has none."""
    request = ApiRequest(
        "PUT", "/meta-data/latest/api/token", headers={"x-metadata-token-ttl-seconds": str(_TOKEN_LIFE)}
    )

    def read(response: ApiResponse) -> str:
        if response.status in _NO_TOKENS:
            return ""
        token = response.body.decode("ascii", "replace").strip()
        if response.status != 200 or not _TOKEN.fullmatch(token):
            raise foreign(response)
        return token

    return ApiCall("CreateMetadataToken", request, read, "the metadata service of ECS")


def get_security_key(token: str) -> ApiCall[AgencyKey]:
    """Get a temporary key of the ECS's agency.

    :param token: a session token; empty if the metadata service has none.
    """
    headers = {"accept": "application/json"} | ({"x-metadata-token": token} if token else {})
    request = ApiRequest("GET", "/openstack/latest/securitykey", headers=headers)
    confidential = (token,) if token else ()
    return ApiCall("GetSecurityKey", request, _read_key, "the ECS's agency", confidential=confidential)


def _read_key(response: ApiResponse) -> AgencyKey:
    if response.status in (400, 401, 403, 404):
        raise AuthenticationFailed(
            "the metadata service has no key: this ECS has no agency", status=response.status, hint=_HINT
        )
    if response.status >= 500 or response.status == 429:
        raise ServiceUnavailable("the metadata service is not available", status=response.status)
    try:
        fields = json_object(response)
    except ApiError:
        # Without the text of the response, which holds a key.
        raise ForeignResponse("the metadata service's response is not a JSON object") from None
    found = read_model(SecurityKeyResponse, fields, status=response.status, request_id=None).credential
    if "credential" not in fields:
        raise ForeignResponse("the metadata service's response has no key", status=response.status)
    if not (found.access and found.secret and found.security_token and found.expires_at):
        raise UnexpectedResponse("the metadata service's key is incomplete", status=response.status)
    # The documented times end with Z.
    expires_at = found.expires_at if found.expires_at.tzinfo else found.expires_at.replace(tzinfo=UTC)
    return AgencyKey(Credentials(found.access, found.secret, found.security_token), expires_at)
