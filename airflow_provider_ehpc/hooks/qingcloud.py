"""The hook for QingCloud HPC."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.qingcloud import hpc, operations
from airflow_provider_ehpc.apis.qingcloud.signing import HpcSigner
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, base_url, time_zone
from airflow_provider_ehpc.hooks.base import ApiHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection

ENDPOINT = "hpc.api.qingcloud.com"
# The documentation writes its base URL with it, and so may a user; every action's path begins with it.
_BASE_PATH = "/api"


class QingCloudHpcHook(ApiHook):
    """QingCloud HPC: jobs of HPC and E-HPC clusters of one zone, and the log of what was done to them.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the public
    one. Extra fields: ``zone``, ``cluster_id``, and the http provider's ``proxy``, ``verify``, ``timeout``,
    ``trust_env``. Every operation is there twice, ``job_detail`` and, for a running event loop,
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
        return hpc.QingCloudHpcApi(account.zone or "")

    def _probe(self, account: Account) -> ApiCall[Any]:
        return operations.list_operations(account.zone or "", limit=1)

    @property
    def zone(self) -> str:
        """The connection's zone."""
        return self.account.zone or ""

    async def _azone(self) -> str:
        return (await self.aaccount()).zone or ""

    def operation_source(self, cluster_id: str | None = None) -> operations.QingCloudOperations:
        """Return the operation log for the audit: of a cluster, or of the zone."""
        return operations.QingCloudOperations(self.zone, cluster_id)

    def list_operations(self, **filters: Any) -> operations.ListOperationsResponse:
        """Operation: one page; the filters are those of :func:`.operations.list_operations`."""
        return self.call(operations.list_operations(self.zone, **filters))

    async def alist_operations(self, **filters: Any) -> operations.ListOperationsResponse:
        """Operation. See :meth:`list_operations`."""
        return await self.acall(operations.list_operations(await self._azone(), **filters))

    def list_jobs(self, cluster_id: str, **filters: Any) -> hpc.HpcListJobsResponse:
        """job/list: one page; the filters are those of :func:`.hpc.list_jobs`."""
        return self.call(hpc.list_jobs(self.zone, cluster_id, **filters))

    async def alist_jobs(self, cluster_id: str, **filters: Any) -> hpc.HpcListJobsResponse:
        """job/list. See :meth:`list_jobs`."""
        return await self.acall(hpc.list_jobs(await self._azone(), cluster_id, **filters))

    def job_detail(self, cluster_id: str, job_uuid: str) -> hpc.JobDetailResponse:
        """job/jobdetail: the details of one job."""
        return self.call(hpc.job_detail(self.zone, cluster_id, job_uuid))

    async def ajob_detail(self, cluster_id: str, job_uuid: str) -> hpc.JobDetailResponse:
        """job/jobdetail. See :meth:`job_detail`."""
        return await self.acall(hpc.job_detail(await self._azone(), cluster_id, job_uuid))

    def submit_job(self, cluster_id: str, **job: Any) -> hpc.HpcSubmitJobResponse:
        """job/submitJob: the job is what :func:`.hpc.submit_job` takes. Never sent twice by itself."""
        return self.call(hpc.submit_job(self.zone, cluster_id, **job))

    async def asubmit_job(self, cluster_id: str, **job: Any) -> hpc.HpcSubmitJobResponse:
        """job/submitJob. See :meth:`submit_job`."""
        return await self.acall(hpc.submit_job(await self._azone(), cluster_id, **job))

    def stop_jobs(self, cluster_id: str, job_ids: list[str]) -> hpc.HpcStopJobsResponse:
        """job/stopJobs: the answer names the operation (``j-…``) that stops them."""
        return self.call(hpc.stop_jobs(self.zone, cluster_id, job_ids))

    async def astop_jobs(self, cluster_id: str, job_ids: list[str]) -> hpc.HpcStopJobsResponse:
        """job/stopJobs. See :meth:`stop_jobs`."""
        return await self.acall(hpc.stop_jobs(await self._azone(), cluster_id, job_ids))
