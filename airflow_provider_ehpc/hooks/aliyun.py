"""Hooks for Alibaba Cloud E-HPC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_ehpc.apis.aliyun import classic, common_logs, ehpc, serverless, window
from airflow_provider_ehpc.apis.aliyun.common import PAGE_SIZE
from airflow_provider_ehpc.apis.aliyun.filters import ClassicFilters, JobFilters
from airflow_provider_ehpc.apis.aliyun.signing import Acs3Signer
from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.job import JobSpec
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, base_url, key_text, time_zone
from airflow_provider_ehpc.hooks.base import ApiHook

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


BEIJING = timezone(timedelta(hours=8))
"""The time zone of ECS instances in all regions, unless somebody changes it. E-HPC does not document the zone
of its times."""


class AliyunHook(ApiHook):
    """What the hooks of all E-HPC APIs share: the connection.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the region's
    own. Extra fields: ``region``, ``security_token``, ``cluster_id``, ``user_password``, ``time_zone``,
    and the http provider's ``proxy``, ``verify``, ``timeout``, ``trust_env``. A connection of the official
    ``alibaba_cloud`` type has the key in its extra fields, as ``access_key_id`` and ``access_key_secret``.
    """

    conn_type = "aliyun_ehpc"
    conn_types = ("aliyun_ehpc", "alibaba_cloud")
    hook_name = "Alibaba Cloud E-HPC"
    default_conn_name = "aliyun_ehpc_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        key = self._key(
            connection.login or extra.get("access_key_id"),
            connection.password or extra.get("access_key_secret"),
            extra,
        )
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
        return Account(
            conn_id=self.conn_id,
            base_url=url,
            signer=Acs3Signer(key),
            confidential=(*key.confidential, user_password) if user_password else key.confidential,
            transport=TransportOptions.from_extra(self.conn_id, extra, url.split(":", 1)[0]),
            cluster_id=self._id("cluster_id", extra.get("cluster_id")),
            user_password=user_password or None,
            zone=region or None,
            local_zone=zone or BEIJING,
            zone_assumed=zone is None,
        )

    def _probe(self, account: Account) -> ApiCall[Any]:
        return ehpc.list_clusters(page_size=1)


class EhpcHook(AliyunHook):
    """E-HPC API 2024-07-30: jobs of Standard Edition clusters on PBS Pro or Slurm.

    Every operation is there twice, ``get_job`` and, for a running event loop, ``aget_job``.
    """

    api = ehpc.EhpcApi()

    def get_job(self, cluster_id: str, job_id: str) -> ehpc.GetJobResponse:
        """GetJob: the details of one job."""
        return self.call(ehpc.get_job(cluster_id, job_id))

    async def aget_job(self, cluster_id: str, job_id: str) -> ehpc.GetJobResponse:
        """GetJob. See :meth:`get_job`."""
        return await self.acall(ehpc.get_job(cluster_id, job_id))

    def list_jobs(
        self,
        cluster_id: str,
        *,
        page_number: int = 1,
        page_size: int = PAGE_SIZE,
        **filters: Unpack[JobFilters],
    ) -> ehpc.ListJobsResponse:
        """ListJobs: one page. See :func:`.ehpc.list_jobs`."""
        call = ehpc.list_jobs(cluster_id, page_number=page_number, page_size=page_size, **filters)
        return self.call(call)

    async def alist_jobs(
        self,
        cluster_id: str,
        *,
        page_number: int = 1,
        page_size: int = PAGE_SIZE,
        **filters: Unpack[JobFilters],
    ) -> ehpc.ListJobsResponse:
        """ListJobs. See :meth:`list_jobs`."""
        call = ehpc.list_jobs(cluster_id, page_number=page_number, page_size=page_size, **filters)
        return await self.acall(call)

    def get_job_log(
        self, cluster_id: str, job_id: str, *, log_type: str = "all", offset: int = 0, size: int = 10240
    ) -> ehpc.GetJobLogResponse:
        """GetJobLog: bytes of a job's output files, in Base64; see :meth:`read_log` for a typed way."""
        return self.call(ehpc.get_job_log(cluster_id, job_id, log_type=log_type, offset=offset, size=size))

    async def aget_job_log(
        self, cluster_id: str, job_id: str, *, log_type: str = "all", offset: int = 0, size: int = 10240
    ) -> ehpc.GetJobLogResponse:
        """GetJobLog. See :meth:`get_job_log`."""
        call = ehpc.get_job_log(cluster_id, job_id, log_type=log_type, offset=offset, size=size)
        return await self.acall(call)

    def create_job(self, cluster_id: str, spec: JobSpec) -> ehpc.CreateJobResponse:
        """CreateJob: submit a job. Never sent twice by itself."""
        return self.call(ehpc.create_job(cluster_id, spec))

    async def acreate_job(self, cluster_id: str, spec: JobSpec) -> ehpc.CreateJobResponse:
        """CreateJob. See :meth:`create_job`."""
        return await self.acall(ehpc.create_job(cluster_id, spec))

    def stop_jobs(self, cluster_id: str, job_ids: list[str]) -> ehpc.StopJobsResponse:
        """StopJobs: stop jobs that are queued or running."""
        return self.call(ehpc.stop_jobs(cluster_id, job_ids))

    async def astop_jobs(self, cluster_id: str, job_ids: list[str]) -> ehpc.StopJobsResponse:
        """StopJobs. See :meth:`stop_jobs`."""
        return await self.acall(ehpc.stop_jobs(cluster_id, job_ids))

    def list_common_logs(
        self,
        time_from: datetime | int,
        time_to: datetime | int,
        *,
        page_number: int = 1,
        page_size: int = common_logs.PAGE_SIZE,
        is_reverse: bool = False,
        **filters: Unpack[common_logs.LogFilters],
    ) -> common_logs.ListCommonLogsResponse:
        """ListCommonLogs: one page. See :func:`.common_logs.list_common_logs`."""
        return self.call(
            common_logs.list_common_logs(
                time_from,
                time_to,
                page_number=page_number,
                page_size=page_size,
                is_reverse=is_reverse,
                **filters,
            )
        )

    async def alist_common_logs(
        self,
        time_from: datetime | int,
        time_to: datetime | int,
        *,
        page_number: int = 1,
        page_size: int = common_logs.PAGE_SIZE,
        is_reverse: bool = False,
        **filters: Unpack[common_logs.LogFilters],
    ) -> common_logs.ListCommonLogsResponse:
        """ListCommonLogs. See :meth:`list_common_logs`."""
        return await self.acall(
            common_logs.list_common_logs(
                time_from,
                time_to,
                page_number=page_number,
                page_size=page_size,
                is_reverse=is_reverse,
                **filters,
            )
        )

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

    Every operation is there twice, ``list_jobs`` and, for a running event loop, ``alist_jobs``.
    """

    api = classic.EhpcClassicApi()

    def list_jobs(self, cluster_id: str, **filters: Any) -> classic.ClassicListJobsResponse:
        """ListJobs: one page; the filters are those of :func:`.classic.list_jobs`."""
        return self.call(classic.list_jobs(cluster_id, **filters))

    async def alist_jobs(self, cluster_id: str, **filters: Any) -> classic.ClassicListJobsResponse:
        """ListJobs. See :meth:`list_jobs`."""
        return await self.acall(classic.list_jobs(cluster_id, **filters))

    def list_jobs_with_filters(
        self,
        cluster_id: str,
        *,
        page_number: int = 1,
        page_size: int = PAGE_SIZE,
        **filters: Unpack[ClassicFilters],
    ) -> classic.ListJobsWithFiltersResponse:
        """ListJobsWithFilters: one page. See :func:`.classic.list_jobs_with_filters`."""
        return self.call(
            classic.list_jobs_with_filters(
                cluster_id, page_number=page_number, page_size=page_size, **filters
            )
        )

    async def alist_jobs_with_filters(
        self,
        cluster_id: str,
        *,
        page_number: int = 1,
        page_size: int = PAGE_SIZE,
        **filters: Unpack[ClassicFilters],
    ) -> classic.ListJobsWithFiltersResponse:
        """ListJobsWithFilters. See :meth:`list_jobs_with_filters`."""
        return await self.acall(
            classic.list_jobs_with_filters(
                cluster_id, page_number=page_number, page_size=page_size, **filters
            )
        )

    def describe_job(self, cluster_id: str, job_id: str) -> classic.DescribeJobResponse:
        """DescribeJob: a job in its scheduler's own words."""
        return self.call(classic.describe_job(cluster_id, job_id))

    async def adescribe_job(self, cluster_id: str, job_id: str) -> classic.DescribeJobResponse:
        """DescribeJob. See :meth:`describe_job`."""
        return await self.acall(classic.describe_job(cluster_id, job_id))

    def get_job_log(
        self,
        cluster_id: str,
        job_id: str,
        *,
        exec_host: str | None = None,
        offset: int = 0,
        size: int = window.SMALLEST,
    ) -> classic.ClassicGetJobLogResponse:
        """GetJobLog: bytes of a job's two output files, in Base64; see :meth:`read_log` for a typed way.

        :param exec_host: the node that the job runs on: needed while it runs, not afterwards.
        """
        call = classic.get_job_log(cluster_id, job_id, exec_host=exec_host, offset=offset, size=size)
        return self.call(call)

    async def aget_job_log(
        self,
        cluster_id: str,
        job_id: str,
        *,
        exec_host: str | None = None,
        offset: int = 0,
        size: int = window.SMALLEST,
    ) -> classic.ClassicGetJobLogResponse:
        """GetJobLog. See :meth:`get_job_log`."""
        call = classic.get_job_log(cluster_id, job_id, exec_host=exec_host, offset=offset, size=size)
        return await self.acall(call)

    def submit_job(self, cluster_id: str, spec: JobSpec) -> classic.ClassicSubmitJobResponse:
        """SubmitJob: submit a job. Never sent twice by itself."""
        return self.call(classic.submit_job(cluster_id, spec))

    async def asubmit_job(self, cluster_id: str, spec: JobSpec) -> classic.ClassicSubmitJobResponse:
        """SubmitJob. See :meth:`submit_job`."""
        return await self.acall(classic.submit_job(cluster_id, spec))

    def stop_jobs(self, cluster_id: str, job_ids: list[str]) -> classic.ClassicStopJobsResponse:
        """StopJobs: stop jobs that are queued or running."""
        return self.call(classic.stop_jobs(cluster_id, job_ids))

    async def astop_jobs(self, cluster_id: str, job_ids: list[str]) -> classic.ClassicStopJobsResponse:
        """StopJobs. See :meth:`stop_jobs`."""
        return await self.acall(classic.stop_jobs(cluster_id, job_ids))


class EhpcServerlessHook(AliyunHook):
    """E-HPC API 2018-04-12: serverless jobs, which run in containers and have no log to read.

    Every operation is there twice, ``list_serverless_jobs`` and, for a running event loop,
    ``alist_serverless_jobs``.
    """

    api = serverless.EhpcServerlessApi()

    def describe_serverless_jobs(
        self, cluster_id: str, job_ids: list[str]
    ) -> serverless.DescribeServerlessJobsResponse:
        """DescribeServerlessJobs: the details of one job, with its containers."""
        return self.call(serverless.describe_serverless_jobs(cluster_id, job_ids))

    async def adescribe_serverless_jobs(
        self, cluster_id: str, job_ids: list[str]
    ) -> serverless.DescribeServerlessJobsResponse:
        """DescribeServerlessJobs. See :meth:`describe_serverless_jobs`."""
        return await self.acall(serverless.describe_serverless_jobs(cluster_id, job_ids))

    def list_serverless_jobs(self, cluster_id: str, **filters: Any) -> serverless.ListServerlessJobsResponse:
        """ListServerlessJobs: one page; the filters are those of :func:`.serverless.list_serverless_jobs`."""
        return self.call(serverless.list_serverless_jobs(cluster_id, **filters))

    async def alist_serverless_jobs(
        self, cluster_id: str, **filters: Any
    ) -> serverless.ListServerlessJobsResponse:
        """ListServerlessJobs. See :meth:`list_serverless_jobs`."""
        return await self.acall(serverless.list_serverless_jobs(cluster_id, **filters))

    def submit_serverless_job(self, cluster_id: str, spec: JobSpec) -> serverless.SubmitServerlessJobResponse:
        """SubmitServerlessJob: submit a job. Never sent twice by itself."""
        return self.call(serverless.submit_serverless_job(cluster_id, spec))

    async def asubmit_serverless_job(
        self, cluster_id: str, spec: JobSpec
    ) -> serverless.SubmitServerlessJobResponse:
        """SubmitServerlessJob. See :meth:`submit_serverless_job`."""
        return await self.acall(serverless.submit_serverless_job(cluster_id, spec))

    def stop_serverless_jobs(
        self, cluster_id: str, job_ids: list[str]
    ) -> serverless.StopServerlessJobsResponse:
        """StopServerlessJobs: stop jobs or sub-tasks; the id of an array job stops all its sub-tasks."""
        return self.call(serverless.stop_serverless_jobs(cluster_id, job_ids))

    async def astop_serverless_jobs(
        self, cluster_id: str, job_ids: list[str]
    ) -> serverless.StopServerlessJobsResponse:
        """StopServerlessJobs. See :meth:`stop_serverless_jobs`."""
        return await self.acall(serverless.stop_serverless_jobs(cluster_id, job_ids))
