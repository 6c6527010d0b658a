"""Hooks for Alibaba Cloud E-HPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc.apis.aliyun import common_logs, ehpc
from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import ApiCall, Credentials, InvalidArgument
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, base_url
from airflow_provider_ehpc.hooks.base import ApiHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


class AliyunHook(ApiHook):
    """What the hooks of all E-HPC APIs share: the connection.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the region's
    own. Extra fields: ``region``, ``security_token``, ``cluster_id``, and the http provider's ``proxy``,
    ``verify``, ``timeout``, ``trust_env``. A connection of the official ``alibaba_cloud`` type has the
    key in its extra fields, as ``access_key_id`` and ``access_key_secret``.
    """

    conn_type = "aliyun_ehpc"
    conn_types = ("aliyun_ehpc", "alibaba_cloud")
    hook_name = "Alibaba Cloud E-HPC"
    default_conn_name = "aliyun_ehpc_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        login = connection.login or extra.get("access_key_id")
        password = connection.password or extra.get("access_key_secret")
        for value, what, field in ((login, "access key id", "login"), (password, "secret", "password")):
            if not value:
                raise InvalidArgument(f"connection {self.conn_id!r} has no {what}: set its {field}")
        region = (extra.get("region") or extra.get("region_id") or "").strip()
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
        credentials = Credentials(login or "", password or "", extra.get("security_token") or None)
        return Account(
            conn_id=self.conn_id,
            base_url=url,
            signer=Acs3Signer(credentials),
            confidential=credentials.confidential,
            transport=TransportOptions.from_extra(self.conn_id, extra, url.split(":", 1)[0]),
            cluster_id=extra.get("cluster_id") or None,
            zone=region or None,
        )

    def _probe(self, account: Account) -> ApiCall[Any]:
        return ehpc.list_clusters(page_size=1)


class EhpcHook(AliyunHook):
    """E-HPC API 2024-07-30: jobs of Standard Edition clusters on PBS Pro or Slurm.

    Every operation is there twice, ``get_job`` and, for a running event loop, ``aget_job``.
    """

    api = ehpc.EhpcApi()

    def get_job(self, cluster_id: str, job_id: str) -> ehpc.GetJobAnswer:
        """GetJob: the details of one job."""
        return self.call(ehpc.get_job(cluster_id, job_id))

    async def aget_job(self, cluster_id: str, job_id: str) -> ehpc.GetJobAnswer:
        """GetJob. See :meth:`get_job`."""
        return await self.acall(ehpc.get_job(cluster_id, job_id))

    def list_jobs(self, cluster_id: str, **filters: Any) -> ehpc.ListJobsAnswer:
        """ListJobs: one page; the filters are those of :func:`.ehpc.list_jobs`."""
        return self.call(ehpc.list_jobs(cluster_id, **filters))

    async def alist_jobs(self, cluster_id: str, **filters: Any) -> ehpc.ListJobsAnswer:
        """ListJobs. See :meth:`list_jobs`."""
        return await self.acall(ehpc.list_jobs(cluster_id, **filters))

    def get_job_log(
        self, cluster_id: str, job_id: str, *, log_type: str = "all", offset: int = 0, size: int = 10240
    ) -> ehpc.GetJobLogAnswer:
        """GetJobLog: bytes of a job's output files, in Base64; see :meth:`read_log` for a typed way."""
        return self.call(ehpc.get_job_log(cluster_id, job_id, log_type=log_type, offset=offset, size=size))

    async def aget_job_log(
        self, cluster_id: str, job_id: str, *, log_type: str = "all", offset: int = 0, size: int = 10240
    ) -> ehpc.GetJobLogAnswer:
        """GetJobLog. See :meth:`get_job_log`."""
        call = ehpc.get_job_log(cluster_id, job_id, log_type=log_type, offset=offset, size=size)
        return await self.acall(call)

    def create_job(self, cluster_id: str, spec: JobSpec) -> ehpc.CreateJobAnswer:
        """CreateJob: submit a job. Never sent twice by itself."""
        return self.call(ehpc.create_job(cluster_id, spec))

    async def acreate_job(self, cluster_id: str, spec: JobSpec) -> ehpc.CreateJobAnswer:
        """CreateJob. See :meth:`create_job`."""
        return await self.acall(ehpc.create_job(cluster_id, spec))

    def stop_jobs(self, cluster_id: str, job_ids: list[str]) -> ehpc.StopJobsAnswer:
        """StopJobs: stop jobs that are queued or running."""
        return self.call(ehpc.stop_jobs(cluster_id, job_ids))

    async def astop_jobs(self, cluster_id: str, job_ids: list[str]) -> ehpc.StopJobsAnswer:
        """StopJobs. See :meth:`stop_jobs`."""
        return await self.acall(ehpc.stop_jobs(cluster_id, job_ids))

    def list_common_logs(
        self, time_from: int, time_to: int, **filters: Any
    ) -> common_logs.ListCommonLogsAnswer:
        """ListCommonLogs: one page; the filters are those of :func:`.common_logs.list_common_logs`."""
        return self.call(common_logs.list_common_logs(time_from, time_to, **filters))

    async def alist_common_logs(
        self, time_from: int, time_to: int, **filters: Any
    ) -> common_logs.ListCommonLogsAnswer:
        """ListCommonLogs. See :meth:`list_common_logs`."""
        return await self.acall(common_logs.list_common_logs(time_from, time_to, **filters))

    def operation_source(self, cluster_id: str | None = None) -> common_logs.EhpcOperations:
        """Return ListCommonLogs for the audit: of a cluster, or of the region.

        :raises InvalidArgument: where the connection names no region, which is a part of every record.
        """
        region = self.account.zone
        if not region:
            raise InvalidArgument(f"connection {self.conn_id!r} names no region: set its extra field region")
        return common_logs.EhpcOperations(region, cluster_id)
