# SPDX-License-Identifier: Apache-2.0
"""Links to a task's job in the cloud's console, and to its archived log.

Airflow shows what a task has pushed as an XCom of the link's key. Airflow itself pushes the result of
``get_link`` when the task ends or defers. Our tasks push it as soon as the job is known, so that the links
work while they run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

# No cloud documents an address of a single job in its console. These lead to its list of jobs, or to the
# console: GetServiceProvisions of the E-HPC SDKs names the first; the tutorials of MindSpore the second
# (https://www.mindspore.cn/tutorial); the documentation of QingCloud the third.
_CONSOLES = {
    ".aliyuncs.com": "https://ehpc.console.aliyun.com/",
    ".myhuaweicloud.com": "https://console.huaweicloud.com/modelarts/?region={zone}#/trainingJobs",
    ".qingcloud.com": "https://console.qingcloud.com/",
}
"""The consoles, by the ends of the names of the clouds' endpoints. Other endpoints have none."""


def console_url(endpoint: str, zone: str | None) -> str:
    """Return the address of the console of a cloud; empty for any other endpoint.

    :param zone: the zone or region.
    """
    host = urlsplit(endpoint).hostname or ""
    found = next((url for end, url in _CONSOLES.items() if host.endswith(end)), "")
    if "{zone}" in found and not zone:
        return ""
    return found.format(zone=quote(zone or "", safe=""))


def archive_url(folder: str | None) -> str:
    """Return the address of an archived log's folder, for a browser if its storage has a web console."""
    parts = urlsplit(folder or "")
    path = quote(parts.path.strip("/"))
    bucket = quote(parts.netloc.rpartition("@")[2])
    if parts.scheme == "s3":
        return f"https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}/"
    if parts.scheme == "gs":
        return f"https://console.cloud.google.com/storage/browser/{bucket}/{path}"
    return folder or ""


class _JobLink(BaseOperatorLink):
    """A link whose address the task has as an attribute."""

    attribute: str

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; empty if there is none."""
        from airflow.sdk.execution_time.xcom import XCom

        # A task that fails before it has read its connection must not replace what it pushed before.
        return getattr(operator, self.attribute, "") or XCom.get_value(ti_key=ti_key, key=self.xcom_key) or ""


class CloudConsoleLink(_JobLink):
    """The job in the cloud's console."""

    name = "Cloud console"
    attribute = "console_link"


class ArchivedLogLink(_JobLink):
    """The log that ``keep_log_at`` saves."""

    name = "Archived log"
    attribute = "archive_link"
