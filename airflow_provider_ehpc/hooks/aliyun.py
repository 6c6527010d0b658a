# SPDX-License-Identifier: Apache-2.0
"""Hooks for Alibaba Cloud E-HPC."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.aliyun import classic, common_logs, ehpc, serverless
from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import Flow, InvalidArgument, PermissionDenied
from airflow_provider_ehpc.connection_types import ALIYUN_EHPC
from airflow_provider_ehpc.hooks.account import (
    Account,
    TransportOptions,
    base_url,
    credentials_type,
    key_text,
    time_zone,
)
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.forms import with_form
from airflow_provider_ehpc.hooks.operations import operation
from airflow_provider_ehpc.hooks.roles import ACCESS_KEY, FIELDS, RoleIssuer
from airflow_provider_ehpc.hooks.tokens import TokenAccount, Unsigned

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


BEIJING = timezone(timedelta(hours=8))
"""The default time zone of ECS instances in all regions. E-HPC does not document the zone of its times."""


class AliyunHook(ApiHook):
    """The base class of the hooks for all E-HPC APIs: it reads the connection.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the region's
    own. Extra fields: ``region``, ``security_token``, ``cluster_id``, ``user_password``, ``time_zone``,
    and the http provider's ``proxy``, ``verify``, ``timeout``, ``trust_env``.

    The extra field ``credentials`` names another source of keys than login and password: ``ram_role_arn``,
    ``oidc_role_arn``, ``ecs_ram_role`` or ``default``, with the fields in :data:`.roles.FIELDS`.

    A connection of the official ``alibaba_cloud`` type has the key in its extra fields, as ``access_key_id``
    and ``access_key_secret``.
    """

    conn_type = "aliyun_ehpc"
    conn_types = ("aliyun_ehpc", "alibaba_cloud")
    hook_name = "Alibaba Cloud E-HPC"
    default_conn_name = "aliyun_ehpc_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        kind = credentials_type(self.conn_id, extra, FIELDS, ACCESS_KEY)
        login = connection.login or extra.get("access_key_id")
        password = connection.password or extra.get("access_key_secret")
        key = self._key(login, password, extra) if login or password or kind == ACCESS_KEY else None
        user_password = key_text(self.conn_id, "user_password", extra.get("user_password"), chosen=True)
        zone = time_zone(self.conn_id, extra.get("time_zone"))
        region = self._id("region", extra.get("region") or extra.get("region_id")) or ""
        if connection.host:
            url = base_url(
                self.conn_id, connection.host, scheme=connection.schema or None, port=connection.port
            )
        elif region:
            url = base_url(self.conn_id, f"ehpc.{region}.aliyuncs.com")
        else:
            raise InvalidArgument(
                f"connection {self.conn_id!r} names neither a region nor an endpoint: set its extra field "
                "region, such as cn-hangzhou"
            )
        account = Account(
            conn_id=self.conn_id,
            base_url=url,
            signer=Acs3Signer(key) if key else Unsigned(),
            confidential=(*(key.confidential if key else ()), *([user_password] if user_password else [])),
            transport=TransportOptions.from_extra(self.conn_id, extra, url.split(":", 1)[0]),
            cluster_id=self._id("cluster_id", extra.get("cluster_id")),
            user_password=user_password or None,
            zone=region or None,
            local_zone=zone or BEIJING,
            zone_assumed=zone is None,
        )
        if kind == ACCESS_KEY:
            return account
        issuer = RoleIssuer.read(self.conn_id, kind, extra, key, account.transport.proxy)
        return TokenAccount.of(account, issuer)

    def _check(self, account: Account) -> Flow[str]:
        place = account.zone or account.base_url
        try:
            visible = (yield ehpc.list_clusters(page_size=1)).total_count or 0
        except PermissionDenied as error:
            error.hint = f"{error.hint} The key is accepted; only this test needs the action.".strip()
            raise
        count = "1 cluster" if visible == 1 else f"{visible} clusters"
        if not account.cluster_id:
            return f"Signed in; {count} visible in {place}."
        named = yield ehpc.list_clusters(page_size=1, cluster_ids=[account.cluster_id])
        if not named.total_count:
            raise InvalidArgument(
                f"Signed in, but cluster {account.cluster_id} is not found ({count} visible in {place}): "
                "check the extra fields cluster_id and region. A cluster of E-HPC 1.0 may not be listed."
            )
        return f"Signed in; {count} visible in {place}; cluster {account.cluster_id} found."


@with_form(ALIYUN_EHPC)
class EhpcHook(AliyunHook):
    """E-HPC API 2024-07-30: jobs of Standard Edition clusters on PBS Pro or Slurm.

    Each operation has two methods: ``get_job`` and, for a running event loop, ``aget_job``.
    """

    api = ehpc.EhpcApi()

    get_job, aget_job = operation(ehpc.get_job)
    list_jobs, alist_jobs = operation(ehpc.list_jobs)
    get_job_log, aget_job_log = operation(ehpc.get_job_log)
    create_job, acreate_job = operation(ehpc.create_job)
    stop_jobs, astop_jobs = operation(ehpc.stop_jobs)
    list_common_logs, alist_common_logs = operation(common_logs.list_common_logs)

    def operation_source(self, cluster_id: str | None = None) -> common_logs.EhpcOperations:
        """Return ListCommonLogs for the audit: of a cluster, or of the region.

        :raises InvalidArgument: if the connection names no region, which is a part of every record.
        """
        region = self.account.zone
        if not region:
            raise InvalidArgument(f"connection {self.conn_id!r} names no region: set its extra field region")
        return common_logs.EhpcOperations(region, cluster_id)


class EhpcClassicHook(AliyunHook):
    """E-HPC API 2018-04-12: jobs of E-HPC 1.0 clusters.

    Each operation has two methods: ``list_jobs`` and, for a running event loop, ``alist_jobs``.
    """

    api = classic.EhpcClassicApi()

    list_jobs, alist_jobs = operation(classic.list_jobs)
    list_jobs_with_filters, alist_jobs_with_filters = operation(classic.list_jobs_with_filters)
    describe_job, adescribe_job = operation(classic.describe_job)
    get_job_log, aget_job_log = operation(classic.get_job_log)
    submit_job, asubmit_job = operation(classic.submit_job)
    stop_jobs, astop_jobs = operation(classic.stop_jobs)


class EhpcServerlessHook(AliyunHook):
    """E-HPC API 2018-04-12: serverless jobs, which run in containers and have no log to read.

    Each operation has two methods: ``list_serverless_jobs`` and, for a running event loop,
    ``alist_serverless_jobs``.
    """

    api = serverless.EhpcServerlessApi()

    describe_serverless_jobs, adescribe_serverless_jobs = operation(serverless.describe_serverless_jobs)
    list_serverless_jobs, alist_serverless_jobs = operation(serverless.list_serverless_jobs)
    submit_serverless_job, asubmit_serverless_job = operation(serverless.submit_serverless_job)
    stop_serverless_jobs, astop_serverless_jobs = operation(serverless.stop_serverless_jobs)
