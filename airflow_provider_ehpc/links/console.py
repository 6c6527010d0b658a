# SPDX-License-Identifier: Apache-2.0
"""Build the addresses of pages in the consoles of clouds. Pure: no Airflow, no I/O.

Every part that comes from a cloud or a user is percent-encoded. An address is empty if the console has no
known page.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

from airflow_provider_ehpc.apis.job import JobRef


@dataclass(frozen=True, slots=True)
class _Console:
    """Hold the addresses of a console, with fields such as ``{region}``, ``{cluster}`` and ``{path}``."""

    home: str
    job: str = ""
    cluster: str = ""
    storage: str = ""
    """The scheme of the cloud's object storage."""
    folder: str = ""


# No vendor documents these addresses. Each is in use elsewhere:
# - E-HPC: the list of clusters in guides of Alibaba Cloud's Compute Nest; a cluster in resource catalogs that
#   name the page of ACS::Ehpc::Cluster. No address of a single job is known.
# - ModelArts: a training job in examples for CreateTrainingJob with Huawei's command line, hcloud.
# - QingCloud: the documentation names only the console itself.
# - OSS: MilvusInstance's BucketPath in Alibaba's SDKs. OBS: guides of MindSpore.
_CONSOLES = {
    ".aliyuncs.com": _Console(
        home="https://ehpc.console.aliyun.com/#/cluster?regionId={region}",
        cluster=(
            "https://ehpc.console.aliyun.com/#/clusterdetail/info/{cluster}?referrer=%2Fcluster&regionId={region}"
        ),
        storage="oss",
        folder="https://oss.console.aliyun.com/bucket/oss-{region}/{bucket}/object?path={path}",
    ),
    ".myhuaweicloud.com": _Console(
        home="https://console.huaweicloud.com/modelarts/?region={region}#/training",
        job="https://console.huaweicloud.com/modelarts/?region={region}#/training/detail/{job}",
        storage="obs",
        folder="https://console.huaweicloud.com/obs/?region={region}#/obs/manage/{bucket}/object/list",
    ),
    ".qingcloud.com": _Console(home="https://console.qingcloud.com/"),
}
"""The consoles, by the end of the endpoint's host name. Other endpoints have no console."""
_STORES = {
    "s3": "https://console.aws.amazon.com/s3/buckets/{bucket}?prefix={path}",
    "gs": "https://console.cloud.google.com/storage/browser/{bucket}/{path}",
}
"""The web consoles of storage that the scheme alone identifies."""
_RESERVED = ":/?#[]@!$&()*+,;=%"
"""Characters that have a meaning in an address (RFC 3986)."""


def console_url(endpoint: str, region: str | None, ref: JobRef | None = None) -> str:
    """Return the address of a job in its cloud's console, or of the closest page that is known.

    :param endpoint: the URL of the API.
    :param region: the region or zone; default: the one in the name of the endpoint.
    :param ref: the job.
    """
    console, region = _console(endpoint, region)
    if console is None:
        return ""
    # Jobs of ModelArts v1 have versions. Their page no longer exists, because the console of v1 was removed.
    if console.job and ref is not None and not ref.version_id:
        return _filled(console.job, region=region, job=ref.job_id)
    return _filled(console.home, region=region)


def cluster_url(endpoint: str, region: str | None, cluster_id: str | None) -> str:
    """Return the address of a cluster in its cloud's console."""
    console, region = _console(endpoint, region)
    return _filled(console.cluster, region=region, cluster=cluster_id) if console else ""


def archive_url(folder: str | None, endpoint: str = "", region: str | None = None) -> str:
    """Return the address at which a browser shows a folder of an object storage.

    :param folder: a URL in the format of ``ObjectStoragePath``.
    :param endpoint: the URL of the task's API. A bucket of the same cloud is assumed to be in its region.
    """
    try:
        # A path is a folder, too.
        parts = urlsplit(str(folder or ""))
    except ValueError:
        return ""
    bucket = parts.netloc.rpartition("@")[2]
    if parts.scheme in ("http", "https"):
        # Without the user, which is a connection or a key.
        return quote(urlunsplit(parts._replace(netloc=bucket)), safe=_RESERVED)
    console, region = _console(endpoint, region)
    template = _STORES.get(parts.scheme, "")
    if console and console.storage == parts.scheme:
        template = console.folder
    path = parts.path.strip("/")
    return _filled(template, region=region, bucket=bucket, path=f"{path}/" if path else "", optional="path")


def _console(endpoint: str, region: str | None) -> tuple[_Console | None, str | None]:
    host = urlsplit(endpoint).hostname or ""
    for end, console in _CONSOLES.items():
        if host.endswith(end):
            # For example, ehpc.cn-hangzhou.aliyuncs.com.
            named = host.removesuffix(end).partition(".")[2]
            return console, region or named or None
    return None, region


def _filled(template: str, optional: str = "", **values: str | None) -> str:
    """Return the address, or an empty text if a value that it needs is missing."""
    if any(not value and name != optional and f"{{{name}}}" in template for name, value in values.items()):
        return ""
    return template.format(**{n: quote(v or "", safe="/" if n == "path" else "") for n, v in values.items()})
