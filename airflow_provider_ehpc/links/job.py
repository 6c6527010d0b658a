# SPDX-License-Identifier: Apache-2.0
"""Define the links of a task: to its job and cluster in the cloud's console, and to the files that it saved.

Airflow shows the address in the XCom with the link's key. Airflow itself pushes the result of ``get_link``
when the task ends or defers. The tasks of this package push it as soon as the job is known, so that the links
work while the task runs, and however it ends.
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
"""The attribute of a task with the addresses that it has pushed, by XCom key."""
RESUMED = "resumed"
"""The attribute of a task that is True if it continues after a deferral."""


class _PushedLink(BaseOperatorLink):
    """Link to an address that the task has pushed."""

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address, or an empty text if there is none."""
        from airflow.sdk.execution_time.xcom import XCom

        pushed = getattr(operator, PUSHED, None)
        if pushed is None and getattr(operator, RESUMED, False):
            # This process has pushed nothing. Return what an earlier one pushed, so that Airflow keeps it.
            return XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""
        # Read nothing, even if the task failed before it pushed a link: Airflow logs an error if the XCom
        # does not exist.
        return str((pushed or {}).get(self.xcom_key, ""))


class CloudConsoleLink(_PushedLink):
    """Link to the job in the cloud's console, or to the closest page that is known."""

    name = "Cloud console"


class ClusterLink(_PushedLink):
    """Link to the cluster in the cloud's console."""

    name = "Cluster"


class ArchivedLogLink(_PushedLink):
    """Link to the log that ``keep_log_at`` saves."""

    name = "Archived log"


class AuditFolderLink(_PushedLink):
    """Link to the folder with the files of an audit."""

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

    :param refs: the jobs; if there are several, only their cluster has a link.
    :param cluster_id: the cluster of a task that has no jobs.
    :param folder: the folder in which the task saves its log or its files.
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
        try:
            for key, address in pushed.items():
                ti.xcom_push(key=key, value=address)
        except Exception as error:
            # The job has been submitted: it is worth more than a link to it.
            task.log.warning("the links of this task could not be saved (%s %s)", type(error).__name__, error)
