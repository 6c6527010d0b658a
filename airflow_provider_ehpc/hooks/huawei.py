# SPDX-License-Identifier: Apache-2.0
"""Hooks for Huawei Cloud ModelArts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import Flow, InvalidArgument
from airflow_provider_ehpc.apis.huawei import modelarts, modelarts_v1
from airflow_provider_ehpc.apis.huawei.iam import IamUser
from airflow_provider_ehpc.apis.huawei.signing import SdkHmacSigner
from airflow_provider_ehpc.connection_types import HUAWEI_MODELARTS
from airflow_provider_ehpc.hooks.account import (
    Account,
    TransportOptions,
    base_url,
    credentials_type,
    key_text,
)
from airflow_provider_ehpc.hooks.agency import AgencyIssuer
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.forms import with_form
from airflow_provider_ehpc.hooks.operations import operation_in
from airflow_provider_ehpc.hooks.tokens import IamIssuer, TokenAccount, Unsigned

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

FIELDS = {
    "access_key": ("security_token",),
    "iam_user": ("iam_domain", "iam_endpoint"),
    "ecs_agency": (),
}
"""The extra fields that each value of the extra field ``credentials`` uses."""


def _project(account: Account) -> str:
    return account.project_id or ""


def _seen(account: Account, jobs: int | None) -> str:
    count = "1 training job" if jobs == 1 else f"{jobs or 0} training jobs"
    return f"Signed in; {count} visible in project {account.project_id} at {account.base_url}."


class HuaweiHook(ApiHook):
    """The base class of the hooks for both ModelArts APIs: it reads the connection.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the region's
    own. Extra fields: ``project_id``, ``region``, ``security_token``, and the http provider's ``proxy``,
    ``verify``, ``timeout``, ``trust_env``.

    If the extra field ``iam_domain`` (the account's name) is set, ``login`` and ``password`` belong to an IAM
    user, and requests are authenticated with a token of ``iam_endpoint`` or the region's IAM. If
    ``credentials`` is ``ecs_agency``, the keys are those of the agency of the ECS that runs Airflow.
    """

    conn_type = "huawei_modelarts"
    conn_types = ("huawei_modelarts",)
    hook_name = "Huawei Cloud ModelArts"
    default_conn_name = "huawei_modelarts_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        default = "iam_user" if extra.get("iam_domain") else "access_key"
        kind = credentials_type(self.conn_id, extra, FIELDS, default)
        domain = key_text(self.conn_id, "iam_domain", extra.get("iam_domain"))
        if kind == "iam_user" and not domain:
            raise InvalidArgument(
                f"connection {self.conn_id!r}: credentials is 'iam_user': set the extra field iam_domain to "
                "the account's name"
            )
        if kind == "ecs_agency" and (connection.login or connection.password):
            raise InvalidArgument(
                f"connection {self.conn_id!r}: credentials is 'ecs_agency', which uses no key: clear "
                "login and password"
            )
        key = (
            None
            if kind == "ecs_agency"
            else self._key(connection.login, connection.password, extra, user=bool(domain))
        )
        # It is sent in a header.
        project_id = key_text(self.conn_id, "project_id", extra.get("project_id"), ascii_only=True)
        if not project_id:
            raise InvalidArgument(
                f"connection {self.conn_id!r} names no project: set its extra field project_id (console, "
                "My Credentials, API Credentials: one for each region)"
            )
        if connection.host:
            url = base_url(
                self.conn_id, connection.host, scheme=connection.schema or None, port=connection.port
            )
        else:
            url = self._regional("modelarts", extra, "host")
        transport = TransportOptions.from_extra(self.conn_id, extra, url.split(":", 1)[0])
        account = Account(
            conn_id=self.conn_id,
            base_url=url,
            signer=SdkHmacSigner(key) if key and not domain else Unsigned(),
            confidential=key.confidential if key and not domain else (),
            transport=transport,
            project_id=project_id,
        )
        if key is None:
            return TokenAccount.of(account, AgencyIssuer(self.conn_id))
        if not domain:
            return account
        iam_endpoint = str(extra.get("iam_endpoint") or "").strip()
        iam_url = (
            base_url(self.conn_id, iam_endpoint)
            if iam_endpoint
            else self._regional("iam", extra, "iam_endpoint")
        )
        user = IamUser(key.access_key_id, key.secret, domain, project_id)
        iam = Account(self.conn_id, iam_url, Unsigned(), user.confidential, transport)
        account = replace(account, confidential=user.confidential)
        return TokenAccount.of(account, IamIssuer(iam, user))

    def _regional(self, service: str, extra: dict[str, Any], instead: str) -> str:
        region = self._id("region", extra.get("region"))
        if not region:
            raise InvalidArgument(
                f"connection {self.conn_id!r} names neither a region nor an endpoint: set its extra field "
                f"region, such as cn-north-4, or {instead}"
            )
        return base_url(self.conn_id, f"{service}.{region}.myhuaweicloud.com")


@with_form(HUAWEI_MODELARTS)
class ModelArtsHook(HuaweiHook):
    """ModelArts API v2: training jobs.

    Each operation has two methods: ``show_training_job`` and, for a running event loop,
    ``ashow_training_job``.
    """

    def _api(self, account: Account) -> modelarts.ModelArtsApi:
        return modelarts.ModelArtsApi(_project(account))

    show_training_job, ashow_training_job = operation_in(_project, modelarts.show_training_job)
    search_training_jobs, asearch_training_jobs = operation_in(_project, modelarts.search_training_jobs)
    create_training_job, acreate_training_job = operation_in(_project, modelarts.create_training_job)
    terminate_training_job, aterminate_training_job = operation_in(_project, modelarts.terminate_training_job)
    list_training_job_events, alist_training_job_events = operation_in(
        _project, modelarts.list_training_job_events
    )
    list_training_job_tasks, alist_training_job_tasks = operation_in(
        _project, modelarts.list_training_job_tasks
    )
    show_log_lines, ashow_log_lines = operation_in(_project, modelarts.show_log_lines)
    show_log_preview, ashow_log_preview = operation_in(_project, modelarts.show_log_preview)

    def _check(self, account: Account) -> Flow[str]:
        found = yield modelarts.search_training_jobs(_project(account), page_size=1)
        return _seen(account, found.total)


class ModelArtsV1Hook(HuaweiHook):
    """ModelArts API v1: job versions, on endpoints that still have them.

    Each operation has two methods: ``show_job_version`` and, for a running event loop,
    ``ashow_job_version``. A version is addressed by ``self.job_ref(job_id, version_id=…)``.
    """

    def _api(self, account: Account) -> modelarts_v1.ModelArtsV1Api:
        return modelarts_v1.ModelArtsV1Api(_project(account))

    show_job_version, ashow_job_version = operation_in(_project, modelarts_v1.show_job_version)
    list_jobs, alist_jobs = operation_in(_project, modelarts_v1.list_jobs)
    list_log_files, alist_log_files = operation_in(_project, modelarts_v1.list_log_files)
    show_log_slice, ashow_log_slice = operation_in(_project, modelarts_v1.show_log_slice)
    show_log_lines, ashow_log_lines = operation_in(_project, modelarts_v1.show_log_lines)
    stop_job_version, astop_job_version = operation_in(_project, modelarts_v1.stop_job_version)

    def _check(self, account: Account) -> Flow[str]:
        found = yield modelarts_v1.list_jobs(_project(account), page_size=1)
        return _seen(account, found.job_total_count)
