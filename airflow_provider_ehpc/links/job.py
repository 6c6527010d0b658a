# SPDX-License-Identifier: Apache-2.0
"""Links beside a task: to its job and its cluster in the cloud's console, and to what it saved.

Airflow shows what a task has pushed as an XCom of the link's key. Airflow itself pushes the result of
``get_link`` when the task ends or defers. Our tasks push it as soon as the job is known, so that the links
work while they run, and however they end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_ehpc.links.console import archive_url, cluster_url, console_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.providers.common.compat.sdk import BaseOperator, Context

    from airflow_provider_ehpc.apis.job import JobRef
    from airflow_provider_ehpc.hooks.account import Account

PUSHED = "pushed_links"
"""The attribute of a task with the addresses that it has pushed, by the keys of the XComs."""


class _PushedLink(BaseOperatorLink):
    """A link whose address the task has pushed."""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; empty if there is none."""
        from airflow.sdk.execution_time.xcom import XCom

        # A task that resumes has pushed nothing itself, and must not replace what it pushed before. Otherwise
        # nothing is read: Airflow logs an error if there is no such XCom.
        if (pushed := getattr(operator, PUSHED, None)) is not None:
            return str(pushed.get(self.xcom_key, ""))
        return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class CloudConsoleLink(_PushedLink):
    """The job in the cloud's console, or the nearest page that is known."""

    name = "Cloud console"


class ClusterLink(_PushedLink):
    """The cluster in the cloud's console."""

    name = "Cluster"


class ArchivedLogLink(_PushedLink):
    """The log that ``keep_log_at`` saves."""

    name = "Archived log"


class AuditFolderLink(_PushedLink):
    """The folder with the files of an audit."""

    name = "Audit files"


JOB_LINKS = (CloudConsoleLink(), ClusterLink(), ArchivedLogLink())
"""The links of tasks that can save a log."""


def push_links(
    task: Any,
    context: Context,
    account: Account,
    *,
    refs: Sequence[JobRef] = (),
    cluster_id: str | None = None,
    folder: str | None = None,
) -> None:
    """Push the addresses of a task's links, so that Airflow shows them while the task runs.

    :param refs: the jobs; of several, only the cluster is linked.
    :param cluster_id: the cluster of a task that has no jobs.
    :param folder: where the task saves its log or its files.
    """
    place = account.base_url, account.zone
    clusters = {ref.cluster_id for ref in refs} or {cluster_id}
    archive = archive_url(folder, *place)
    addresses = {
        CloudConsoleLink: console_url(*place, refs[0] if len(refs) == 1 else None),
        ClusterLink: cluster_url(*place, clusters.pop()) if len(clusters) == 1 else "",
        ArchivedLogLink: archive,
        AuditFolderLink: archive,
    }
    links = getattr(task, "operator_extra_links", ())
    pushed = {link.xcom_key: addresses[type(link)] for link in links if addresses.get(type(link))}
    setattr(task, PUSHED, pushed)
    if (ti := context.get("ti")) is not None:
        for key, address in pushed.items():
            ti.xcom_push(key=key, value=address)
