# SPDX-License-Identifier: Apache-2.0
"""The hook for QingCloud HPC."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import Flow, InvalidArgument, InvalidRequest, NotFound
from airflow_provider_ehpc.apis.qingcloud import hpc, operations
from airflow_provider_ehpc.apis.qingcloud.signing import HpcSigner
from airflow_provider_ehpc.connection_types import QINGCLOUD_HPC
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, base_url, time_zone
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.forms import with_form
from airflow_provider_ehpc.hooks.operations import operation_in

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

ENDPOINT = "hpc.api.qingcloud.com"
# The documentation's base URL ends with it, so a user may write it, too. Every action's path begins with it.
_BASE_PATH = "/api"


def _zone(account: Account) -> str:
    return account.zone or ""


@with_form(QINGCLOUD_HPC)
class QingCloudHpcHook(ApiHook):
    """QingCloud HPC: jobs of HPC and E-HPC clusters of one zone, and the log of operations on them.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the public
    one. Extra fields: ``zone``, ``cluster_id``, and the http provider's ``proxy``, ``verify``, ``timeout``,
    ``trust_env``. Each operation has two methods: ``job_detail`` and, for a running event loop,
    ``ajob_detail``.
    """

    conn_type = "qingcloud_hpc"
    conn_types = ("qingcloud_hpc",)
    hook_name = "QingCloud HPC"
    default_conn_name = "qingcloud_hpc_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        key = self._key(connection.login, connection.password, extra)
        local_zone = time_zone(self.conn_id, extra.get("time_zone"))
        zone = self._id("zone", extra.get("zone"))
        if not zone:
            raise InvalidArgument(
                f"connection {self.conn_id!r} names no zone: set its extra field zone, such as jinan1a"
            )
        host = (connection.host or ENDPOINT).strip().rstrip("/").removesuffix(_BASE_PATH)
        url = base_url(self.conn_id, host, scheme=connection.schema or None, port=connection.port)
        return Account(
            conn_id=self.conn_id,
            base_url=url,
            signer=HpcSigner(key),
            confidential=key.confidential,
            transport=TransportOptions.from_extra(self.conn_id, extra, url.split(":", 1)[0]),
            cluster_id=self._id("cluster_id", extra.get("cluster_id")),
            zone=zone,
            local_zone=local_zone or UTC,
            zone_assumed=local_zone is None,
        )

    def _api(self, account: Account) -> hpc.QingCloudHpcApi:
        return hpc.QingCloudHpcApi(_zone(account))

    list_operations, alist_operations = operation_in(_zone, operations.list_operations)
    list_jobs, alist_jobs = operation_in(_zone, hpc.list_jobs)
    job_detail, ajob_detail = operation_in(_zone, hpc.job_detail)
    submit_job, asubmit_job = operation_in(_zone, hpc.submit_job)
    stop_jobs, astop_jobs = operation_in(_zone, hpc.stop_jobs)

    def operation_source(self, cluster_id: str | None = None) -> operations.QingCloudOperations:
        """Return the operation log for the audit: of a cluster, or of the zone."""
        return operations.QingCloudOperations(self.zone, cluster_id)

    @property
    def zone(self) -> str:
        """The connection's zone."""
        return _zone(self.account)

    def _check(self, account: Account) -> Flow[str]:
        zone, cluster_id = _zone(account), account.cluster_id
        found = yield operations.list_operations(zone, limit=1)
        seen = f"Signed in; {found.total_count or 0} operations visible in zone {zone}"
        if not cluster_id:
            return f"{seen}."
        try:
            yield hpc.list_jobs(zone, cluster_id, limit=1)
        except (NotFound, InvalidRequest) as error:
            raise InvalidArgument(
                f"{seen}, but not cluster {cluster_id}: check the extra fields cluster_id and zone ({error})"
            ) from None
        return f"{seen}; cluster {cluster_id} found."
