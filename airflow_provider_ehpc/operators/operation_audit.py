# SPDX-License-Identifier: Apache-2.0
"""Record every operation on clusters, window by window, and check it against rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_ehpc import arguments
from airflow_provider_ehpc.apis.call import InvalidArgument
from airflow_provider_ehpc.apis.capabilities import Capability
from airflow_provider_ehpc.audit.rules import Rule
from airflow_provider_ehpc.audit.run import MAX_AGE, audit_window, fail_for, operation_line, run_audit
from airflow_provider_ehpc.audit.sinks import FORMATS
from airflow_provider_ehpc.audit.window import AUDIT_SETTLE_TIME, REQUEST_LIMIT
from airflow_provider_ehpc.compat import BaseOperator, conf
from airflow_provider_ehpc.exceptions import TaskKilled, without_useless_retries
from airflow_provider_ehpc.links.job import AuditFolderLink, CloudConsoleLink, ClusterLink, push_links
from airflow_provider_ehpc.templates import TextTemplates
from airflow_provider_ehpc.waiting.interruptible import InterruptibleWait

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_ehpc.hooks.base import ApiHook

SHORTEST_DEFERRAL = timedelta(seconds=10)
"""Seconds. A shorter wait stays on the worker: Airflow can mark a task as failed if it resumes within about
five seconds of its deferral (GH-71580)."""


class OperationAuditOperator(TextTemplates, BaseOperator):
    """Read every operation of a window from a cloud's operation log, and write it to a file.

    Either all operations that began from ``start`` until before ``end`` are written, or the task fails and
    writes nothing. The file is named after the log and the window, so a rerun replaces it; a manifest beside
    it contains counts and checksums. Operations that had not ended are read again by
    the run of the next window, which writes them to its file once they have ended.

    The result is a summary as a dict: counts by status, action and operator, violations by rule, the files
    with their SHA-256, the window, and the number of requests. Assets among the task's outlets get it as
    ``extra`` of their event.

    :param path: a folder, of any kind that ``ObjectStoragePath`` understands.
    :param conn_id: the connection to the cloud account.
    :param api: the API to use; default: that of the connection's type.
    :param cluster_id: only operations on this cluster or other resource; default: all in the connection's
        zone or region, even if the connection has a default cluster.
    :param start: an aware datetime or ISO 8601; default: the start of the run's data interval.
    :param end: likewise, excluded; default: the end of the run's data interval.
    :param formats: ``jsonl``, ``ocsf`` or both; one file each.
    :param rules: the permitted operations; see :class:`~airflow_provider_ehpc.audit.rules.Rule`. Violations
        are written first; then the task fails, without using retries, if the rule's effect is ``fail``.
    :param settle: seconds, or a ``timedelta``, after the window's end in which rows may still appear in the
        log; the task waits until this time has passed.
    :param max_age: seconds, or a ``timedelta``, for which the cloud stores its log. A window that began
        earlier is rejected: deleted operations would be missing without a trace.
    :param request_limit: requests for reading, at most; a new QingCloud account has 2,000 per hour.
    :param deferrable: wait for the end of ``settle`` in the triggerer, without a worker slot.
    """

    template_fields: Sequence[str] = ("conn_id", "api", "cluster_id", "start", "end", "path", "rules")
    operator_extra_links = (CloudConsoleLink(), ClusterLink(), AuditFolderLink())
    ui_color = "#d5e8f7"

    def __init__(
        self,
        *,
        path: str,
        conn_id: str = "qingcloud_hpc_default",
        api: str | None = None,
        cluster_id: str | None = None,
        # The default filters are for runs without a data interval (triggered by an asset): they make
        # ``_moment`` raise an error that names the argument, instead of Jinja.
        start: datetime | str = "{{ data_interval_start | default('', true) }}",
        end: datetime | str = "{{ data_interval_end | default('', true) }}",
        formats: Sequence[str] = ("jsonl",),
        rules: Sequence[Mapping[str, Any]] = (),
        settle: timedelta | float = AUDIT_SETTLE_TIME,
        max_age: timedelta | float = MAX_AGE,
        request_limit: int = REQUEST_LIMIT,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.conn_id = conn_id
        self.api = api
        if not arguments.is_template(api):
            arguments.api(api, needs=Capability.OPERATIONS)
        self.cluster_id = cluster_id
        self.start = start
        self.end = end
        formats = [formats] if isinstance(formats, str) else formats
        if not formats or (unknown := [name for name in formats if name not in (*FORMATS,)]):
            wrong = f"unknown format {unknown[0]!r}" if formats else "the list is empty"
            raise InvalidArgument(f"formats: {wrong}; expected {' or '.join(FORMATS)}")
        self.formats = tuple(dict.fromkeys(formats))
        self.rules = rules
        self.settle = timedelta(seconds=arguments.seconds("settle", settle))
        self.max_age = timedelta(seconds=arguments.seconds("max_age", max_age, positive=True))
        if isinstance(request_limit, bool) or not isinstance(request_limit, int) or request_limit < 1:
            raise InvalidArgument(
                f"request_limit: expected a whole number of at least 1, got {arguments.shown(request_limit)}"
            )
        self.request_limit = request_limit
        self.deferrable = deferrable
        self._killed = InterruptibleWait()

    @cached_property
    def hook(self) -> ApiHook:
        """Return the hook of the API."""
        from airflow_provider_ehpc.hooks import job_hook

        return job_hook(arguments.text("conn_id", self.conn_id), arguments.api(self.api))

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait until the window has settled, read it, check it, and write it."""
        with without_useless_retries():
            return self._execute(context)

    def _execute(self, context: Context) -> dict[str, Any]:
        window = audit_window(_moment("start", self.start), _moment("end", self.end), self.max_age)
        rules = [Rule.parse(rule) for rule in self.rules or ()]
        cluster_id = arguments.optional_identifier("cluster_id", self.cluster_id, what="cluster")
        source = self.hook.operation_source(cluster_id)
        push_links(self, context, self.hook.account, cluster_id=cluster_id, folder=self.path)
        self._wait_until(window.end + self.settle)
        audit = run_audit(
            self.hook,
            source,
            window,
            rules,
            self.path,
            formats=self.formats,
            settle=self.settle,
            request_limit=self.request_limit,
        )
        for record in audit.records:
            self.log.info("%s", operation_line(record))
        for violation in audit.violations:
            self.log.warning("%s", violation)
        result = audit.summary.as_dict()
        self._report_to_assets(context, result)
        self.log.info("%s", audit)
        fail_for(audit)
        return result

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Continue after the window has settled."""
        return self.execute(context)

    def on_kill(self) -> None:
        """End the wait."""
        self._killed.interrupt()

    def _wait_until(self, moment: datetime) -> None:
        left = moment - datetime.now(UTC)
        if left <= timedelta(0):
            return
        self.log.info("operations may still appear in the log until %s; waiting", moment.isoformat())
        if self.deferrable and left > SHORTEST_DEFERRAL:
            from airflow.providers.standard.triggers.temporal import DateTimeTrigger

            self.defer(trigger=DateTimeTrigger(moment=moment), method_name="execute_complete")
        if self._killed.wait(left.total_seconds()):
            raise TaskKilled("Airflow ended the task while it waited for the window to settle")

    def _report_to_assets(self, context: Context, result: dict[str, Any]) -> None:
        from airflow.sdk import Asset

        for outlet in self.outlets or ():
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = result


def _moment(name: str, value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not str(value or "").strip():
        raise InvalidArgument(
            f"{name}: missing, and the run has no data interval (it was triggered by an asset, or manually "
            "without a logical date); set start and end"
        )
    try:
        return datetime.fromisoformat(str(value).strip())
    except ValueError:
        raise InvalidArgument(
            f"{name}: invalid datetime {value!r}: expected ISO 8601 with a time zone, such as "
            "2026-03-01T00:00:00+00:00"
        ) from None
