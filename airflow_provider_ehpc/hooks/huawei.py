"""Hooks for Huawei Cloud ModelArts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from airflow_provider_ehpc.apis.call import ApiCall, InvalidArgument
from airflow_provider_ehpc.apis.huawei import modelarts, modelarts_v1
from airflow_provider_ehpc.apis.huawei.iam import IamUser
from airflow_provider_ehpc.apis.huawei.job_version import JobVersion
from airflow_provider_ehpc.apis.huawei.logs_bytes import SLICE, LogSlice
from airflow_provider_ehpc.apis.huawei.logs_lines import LogLines
from airflow_provider_ehpc.apis.huawei.logs_preview import LogPreview
from airflow_provider_ehpc.apis.huawei.search import Search
from airflow_provider_ehpc.apis.huawei.signing import SdkHmacSigner
from airflow_provider_ehpc.apis.huawei.training_job import TrainingJob
from airflow_provider_ehpc.apis.job import JobRef
from airflow_provider_ehpc.hooks.account import Account, TransportOptions, base_url, key_text
from airflow_provider_ehpc.hooks.base import ApiHook
from airflow_provider_ehpc.hooks.tokens import TokenAccount, Unsigned

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Connection


class HuaweiHook(ApiHook):
    """What the hooks of both ModelArts APIs share: the connection, and tokens in place of a key.

    ``login`` is the access key id, ``password`` the secret, ``host`` an endpoint in place of the region's
    own. Extra fields: ``project_id``, ``region``, ``security_token``, and the http provider's ``proxy``,
    ``verify``, ``timeout``, ``trust_env``.

    With the extra field ``iam_domain``, the account's name, ``login`` and ``password`` are those of an IAM
    user: requests then carry a token, which is requested from ``iam_endpoint`` or the region's IAM.
    """

    conn_type = "huawei_modelarts"
    conn_types = ("huawei_modelarts",)
    hook_name = "Huawei Cloud ModelArts"
    default_conn_name = "huawei_modelarts_default"

    def __init__(self, conn_id: str = default_conn_name) -> None:
        super().__init__(conn_id)

    def _understand(self, connection: Connection, extra: dict[str, Any]) -> Account:
        domain = key_text(self.conn_id, "iam_domain", extra.get("iam_domain"))
        key = self._key(connection.login, connection.password, extra, user=bool(domain))
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
        if not domain:
            return Account(
                conn_id=self.conn_id,
                base_url=url,
                signer=SdkHmacSigner(key),
                confidential=key.confidential,
                transport=transport,
                project_id=project_id,
            )
        if key.security_token:
            raise InvalidArgument(
                f"connection {self.conn_id!r} has both security_token and iam_domain: the first belongs to a "
                "temporary key, the second to an IAM user; leave one out"
            )
        iam_endpoint = _text(extra, "iam_endpoint")
        iam_url = (
            base_url(self.conn_id, iam_endpoint)
            if iam_endpoint
            else self._regional("iam", extra, "iam_endpoint")
        )
        user = IamUser(key.access_key_id, key.secret, domain, project_id)
        iam = Account(self.conn_id, iam_url, Unsigned(), user.confidential, transport)
        return TokenAccount(
            conn_id=self.conn_id,
            base_url=url,
            signer=Unsigned(),
            confidential=user.confidential,
            transport=transport,
            project_id=project_id,
            iam=iam,
            user=user,
        )

    @property
    def _project(self) -> str:
        return self.account.project_id or ""

    async def _aproject(self) -> str:
        return (await self.aaccount()).project_id or ""

    def _regional(self, service: str, extra: dict[str, Any], instead: str) -> str:
        region = self._id("region", extra.get("region"))
        if not region:
            raise InvalidArgument(
                f"connection {self.conn_id!r} names neither a region nor an endpoint: set its extra field "
                f"region, such as cn-north-4, or {instead}"
            )
        return base_url(self.conn_id, f"{service}.{region}.myhuaweicloud.com")

    # ------------------------------------------------------------------ Airflow's connection test

    def _probe(self, account: Account) -> ApiCall[Any]:
        return modelarts.search_training_jobs(account.project_id or "", page_size=1)


class ModelArtsHook(HuaweiHook):
    """ModelArts API v2: training jobs.

    Every operation is there twice, ``show_training_job`` and, for a running event loop,
    ``ashow_training_job``.
    """

    def _api(self, account: Account) -> modelarts.ModelArtsApi:
        return modelarts.ModelArtsApi(account.project_id or "")

    def show_training_job(self, job_id: str) -> TrainingJob:
        """ShowTrainingJobDetails: one job."""
        return self.call(modelarts.show_training_job(self._project, job_id))

    async def ashow_training_job(self, job_id: str) -> TrainingJob:
        """ShowTrainingJobDetails. See :meth:`show_training_job`."""
        return await self.acall(modelarts.show_training_job(await self._aproject(), job_id))

    def search_training_jobs(
        self, *, page: int = 0, page_size: int = modelarts.PAGE_SIZE, **search: Unpack[Search]
    ) -> modelarts.SearchResponse:
        """ListTrainingJobs: one page. See :func:`.modelarts.search_training_jobs`."""
        call = modelarts.search_training_jobs(self._project, page=page, page_size=page_size, **search)
        return self.call(call)

    async def asearch_training_jobs(
        self, *, page: int = 0, page_size: int = modelarts.PAGE_SIZE, **search: Unpack[Search]
    ) -> modelarts.SearchResponse:
        """ListTrainingJobs. See :meth:`search_training_jobs`."""
        project = await self._aproject()
        call = modelarts.search_training_jobs(project, page=page, page_size=page_size, **search)
        return await self.acall(call)

    def create_training_job(self, body: dict[str, Any]) -> TrainingJob:
        """CreateTrainingJob: submit a job. Never sent twice by itself."""
        return self.call(modelarts.create_training_job(self._project, body))

    async def acreate_training_job(self, body: dict[str, Any]) -> TrainingJob:
        """CreateTrainingJob. See :meth:`create_training_job`."""
        return await self.acall(modelarts.create_training_job(await self._aproject(), body))

    def terminate_training_job(self, job_id: str) -> TrainingJob:
        """StopTrainingJob: stop a job that is being created, waits or runs."""
        return self.call(modelarts.terminate_training_job(self._project, job_id))

    async def aterminate_training_job(self, job_id: str) -> TrainingJob:
        """StopTrainingJob. See :meth:`terminate_training_job`."""
        return await self.acall(modelarts.terminate_training_job(await self._aproject(), job_id))

    def list_training_job_events(self, job_id: str, **filters: Any) -> modelarts.EventsResponse:
        """ListTrainingJobEvents; the filters are those of :func:`.modelarts.list_training_job_events`."""
        return self.call(modelarts.list_training_job_events(self._project, job_id, **filters))

    async def alist_training_job_events(self, job_id: str, **filters: Any) -> modelarts.EventsResponse:
        """ListTrainingJobEvents. See :meth:`list_training_job_events`."""
        return await self.acall(modelarts.list_training_job_events(await self._aproject(), job_id, **filters))

    def list_training_job_tasks(
        self, job_id: str, *, schedule_count: int | None = None
    ) -> modelarts.TasksResponse:
        """ListTrainingJobTasks: on which node each task was placed."""
        call = modelarts.list_training_job_tasks(self._project, job_id, schedule_count=schedule_count)
        return self.call(call)

    async def alist_training_job_tasks(
        self, job_id: str, *, schedule_count: int | None = None
    ) -> modelarts.TasksResponse:
        """ListTrainingJobTasks. See :meth:`list_training_job_tasks`."""
        project_id = await self._aproject()
        call = modelarts.list_training_job_tasks(project_id, job_id, schedule_count=schedule_count)
        return await self.acall(call)

    def show_log_lines(
        self, job_id: str, task: str, *, base_line: str | None = None, lines: int = 50, order: str = "desc"
    ) -> LogLines:
        """ShowTrainingJobLogsFromAom: lines of a task's log; see :meth:`read_log` for a typed way."""
        call = modelarts.show_log_lines(
            self._project, job_id, task, base_line=base_line, lines=lines, order=order
        )
        return self.call(call)

    async def ashow_log_lines(
        self, job_id: str, task: str, *, base_line: str | None = None, lines: int = 50, order: str = "desc"
    ) -> LogLines:
        """ShowTrainingJobLogsFromAom. See :meth:`show_log_lines`."""
        project_id = await self._aproject()
        call = modelarts.show_log_lines(
            project_id, job_id, task, base_line=base_line, lines=lines, order=order
        )
        return await self.acall(call)

    def show_log_preview(self, job_id: str, task: str) -> LogPreview:
        """ShowTrainingJobLogsPreview: the newest 5 MB, at most, of a task's log."""
        return self.call(modelarts.show_log_preview(self._project, job_id, task))

    async def ashow_log_preview(self, job_id: str, task: str) -> LogPreview:
        """ShowTrainingJobLogsPreview. See :meth:`show_log_preview`."""
        return await self.acall(modelarts.show_log_preview(await self._aproject(), job_id, task))


class ModelArtsV1Hook(HuaweiHook):
    """ModelArts API v1: job versions, on endpoints that still have them.

    Every operation is there twice, ``show_job_version`` and, for a running event loop,
    ``ashow_job_version``. A version is addressed by ``self.job_ref(job_id, version_id=…)``.
    """

    def _api(self, account: Account) -> modelarts_v1.ModelArtsV1Api:
        return modelarts_v1.ModelArtsV1Api(account.project_id or "")

    def show_job_version(self, ref: JobRef) -> JobVersion:
        """The details of a job version."""
        return self.call(modelarts_v1.show_job_version(self._project, ref))

    async def ashow_job_version(self, ref: JobRef) -> JobVersion:
        """The details of a job version. See :meth:`show_job_version`."""
        return await self.acall(modelarts_v1.show_job_version(await self._aproject(), ref))

    def list_jobs(
        self, *, page: int = 1, page_size: int = modelarts_v1.PAGE_SIZE
    ) -> modelarts_v1.ListResponse:
        """One page of the jobs, newest first."""
        return self.call(modelarts_v1.list_jobs(self._project, page=page, page_size=page_size))

    async def alist_jobs(
        self, *, page: int = 1, page_size: int = modelarts_v1.PAGE_SIZE
    ) -> modelarts_v1.ListResponse:
        """One page of the jobs. See :meth:`list_jobs`."""
        return await self.acall(
            modelarts_v1.list_jobs(await self._aproject(), page=page, page_size=page_size)
        )

    def list_log_files(self, ref: JobRef) -> modelarts_v1.LogFilesResponse:
        """The names of a version's log files."""
        return self.call(modelarts_v1.list_log_files(self._project, ref))

    async def alist_log_files(self, ref: JobRef) -> modelarts_v1.LogFilesResponse:
        """The names of a version's log files. See :meth:`list_log_files`."""
        return await self.acall(modelarts_v1.list_log_files(await self._aproject(), ref))

    def show_log_slice(
        self, ref: JobRef, log_file: str, *, start_byte: int = 0, offset: int = SLICE
    ) -> LogSlice:
        """Bytes of a log file, at most 2048; see :meth:`read_log` for a typed way."""
        call = modelarts_v1.show_log_slice(self._project, ref, log_file, start_byte=start_byte, offset=offset)
        return self.call(call)

    async def ashow_log_slice(
        self, ref: JobRef, log_file: str, *, start_byte: int = 0, offset: int = SLICE
    ) -> LogSlice:
        """Bytes of a log file. See :meth:`show_log_slice`."""
        project_id = await self._aproject()
        call = modelarts_v1.show_log_slice(project_id, ref, log_file, start_byte=start_byte, offset=offset)
        return await self.acall(call)

    def show_log_lines(
        self,
        ref: JobRef,
        log_file: str,
        *,
        base_line: str | None = None,
        lines: int = 50,
        order: str = "desc",
    ) -> modelarts_v1.AomLogResponse:
        """Lines of a log file; here ``desc`` gives newer lines and ``asc`` older ones."""
        call = modelarts_v1.show_log_lines(
            self._project, ref, log_file, base_line=base_line, lines=lines, order=order
        )
        return self.call(call)

    async def ashow_log_lines(
        self,
        ref: JobRef,
        log_file: str,
        *,
        base_line: str | None = None,
        lines: int = 50,
        order: str = "desc",
    ) -> modelarts_v1.AomLogResponse:
        """Lines of a log file. See :meth:`show_log_lines`."""
        project_id = await self._aproject()
        call = modelarts_v1.show_log_lines(
            project_id, ref, log_file, base_line=base_line, lines=lines, order=order
        )
        return await self.acall(call)

    def stop_job_version(self, ref: JobRef) -> modelarts_v1.StopResponse:
        """Stop a job version."""
        return self.call(modelarts_v1.stop_job_version(self._project, ref))

    async def astop_job_version(self, ref: JobRef) -> modelarts_v1.StopResponse:
        """Stop a job version. See :meth:`stop_job_version`."""
        return await self.acall(modelarts_v1.stop_job_version(await self._aproject(), ref))

    def _probe(self, account: Account) -> ApiCall[Any]:
        return modelarts_v1.list_jobs(account.project_id or "", page_size=1)


def _text(extra: dict[str, Any], name: str) -> str:
    return str(extra.get(name) or "").strip()
