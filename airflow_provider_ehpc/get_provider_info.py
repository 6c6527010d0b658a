# SPDX-License-Identifier: Apache-2.0
"""Describe this package to Airflow, through the entry point ``apache_airflow_provider``."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc import __version__

_LOGO = "/docs/integration-logos/managed-hpc.svg"


def get_provider_info() -> dict[str, Any]:
    """Return the provider's description, in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-ehpc",
        "name": "Managed HPC",
        "description": "Jobs on managed HPC: Alibaba Cloud E-HPC, Huawei Cloud ModelArts, QingCloud HPC",
        "versions": [__version__],
        "integrations": [
            {
                "integration-name": "Alibaba Cloud E-HPC",
                "external-doc-url": "https://www.alibabacloud.com/help/en/e-hpc/",
                "how-to-guide": [
                    "/docs/clouds/alibaba-ehpc.md",
                    "/docs/submit.md",
                    "/docs/waiting.md",
                    "/docs/logs.md",
                ],
                "logo": _LOGO,
                "tags": ["service"],
            },
            {
                "integration-name": "Huawei Cloud ModelArts",
                "external-doc-url": "https://support.huaweicloud.com/intl/en-us/modelarts/index.html",
                "how-to-guide": ["/docs/clouds/huawei-modelarts.md"],
                "logo": _LOGO,
                "tags": ["service"],
            },
            {
                "integration-name": "QingCloud HPC",
                "external-doc-url": "https://docsv3.qingcloud.com/compute/hpc/",
                "how-to-guide": ["/docs/clouds/qingcloud-hpc.md", "/docs/audit.md"],
                "logo": _LOGO,
                "tags": ["service"],
            },
        ],
        "config": {
            "ehpc": {
                "description": "Jobs on managed HPC (airflow-provider-ehpc).",
                "options": {
                    "max_requests_per_second": {
                        "description": "Requests per second, at most, that a process sends to one account of "
                        "a cloud. If the cloud throttles them, fewer are sent for a while.",
                        "version_added": __version__,
                        "type": "float",
                        "example": "5",
                        "default": "20",
                    }
                },
            }
        },
        "cli": ["airflow_provider_ehpc.cli.definition.get_ehpc_cli_commands"],
        "connection-types": [_ALIYUN_EHPC, _HUAWEI_MODELARTS, _QINGCLOUD_HPC],
        "hooks": [
            {
                "integration-name": "Alibaba Cloud E-HPC",
                "python-modules": ["airflow_provider_ehpc.hooks.aliyun"],
            },
            {
                "integration-name": "Huawei Cloud ModelArts",
                "python-modules": ["airflow_provider_ehpc.hooks.huawei"],
            },
            {
                "integration-name": "QingCloud HPC",
                "python-modules": ["airflow_provider_ehpc.hooks.qingcloud"],
            },
        ],
        "sensors": [
            {
                "integration-name": "Alibaba Cloud E-HPC",
                "python-modules": ["airflow_provider_ehpc.sensors.job_state"],
            }
        ],
        "operators": [
            {
                "integration-name": "Alibaba Cloud E-HPC",
                "python-modules": [
                    "airflow_provider_ehpc.operators.job",
                    "airflow_provider_ehpc.operators.job_log",
                    "airflow_provider_ehpc.operators.stop_job",
                ],
            },
            {
                "integration-name": "QingCloud HPC",
                "python-modules": ["airflow_provider_ehpc.operators.operation_audit"],
            },
        ],
        "extra-links": [
            "airflow_provider_ehpc.links.job.CloudConsoleLink",
            "airflow_provider_ehpc.links.job.ClusterLink",
            "airflow_provider_ehpc.links.job.ArchivedLogLink",
            "airflow_provider_ehpc.links.job.AuditFolderLink",
        ],
        "task-decorators": [
            {"name": "hpc_job", "class-name": "airflow_provider_ehpc.decorators.hpc_job.hpc_job_task"}
        ],
        "triggers": [
            {
                "integration-name": "Alibaba Cloud E-HPC",
                "python-modules": [
                    "airflow_provider_ehpc.triggers.job_state",
                    "airflow_provider_ehpc.triggers.job_log",
                    "airflow_provider_ehpc.triggers.job_finished",
                ],
            }
        ],
    }


_ALIYUN_EHPC: dict[str, Any] = {
    "connection-type": "aliyun_ehpc",
    "hook-class-name": "airflow_provider_ehpc.hooks.aliyun.EhpcHook",
    "hook-name": "Alibaba Cloud E-HPC",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port"],
        "relabeling": {
            "login": "Access Key ID",
            "password": "Access Key Secret",
            "host": "Endpoint",
        },
        "placeholders": {
            "host": "default: ehpc.<region>.aliyuncs.com",
            "region": "cn-hangzhou",
            "cluster_id": "ehpc-hz-…",
        },
    },
    "conn-fields": {
        "region": {
            "label": "Region",
            "description": "The cluster's region, such as cn-hangzhou. Required without an endpoint.",
            "schema": {"type": ["string", "null"]},
        },
        "security_token": {
            "label": "Security Token",
            "description": "Only for temporary keys of the Security Token Service.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "time_zone": {
            "label": "Time Zone",
            "description": "The zone of the cluster's clocks, such as Asia/Shanghai. Default: UTC+8.",
            "schema": {"type": ["string", "null"]},
        },
        "cluster_id": {
            "label": "Default Cluster ID",
            "description": "The cluster of tasks that do not name one.",
            "schema": {"type": ["string", "null"]},
        },
        "user_password": {
            "label": "Cluster User's Password",
            "description": "For SubmitJobOperator(user=…), if the cluster requires the user's password.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
    },
}

_HUAWEI_MODELARTS: dict[str, Any] = {
    "connection-type": "huawei_modelarts",
    "hook-class-name": "airflow_provider_ehpc.hooks.huawei.ModelArtsHook",
    "hook-name": "Huawei Cloud ModelArts",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port"],
        "relabeling": {
            "login": "Access Key ID (or IAM user)",
            "password": "Secret Access Key (or the user's password)",
            "host": "Endpoint",
        },
        "placeholders": {
            "host": "default: modelarts.<region>.myhuaweicloud.com",
            "region": "cn-north-4",
            "iam_endpoint": "default: iam.<region>.myhuaweicloud.com",
        },
    },
    "conn-fields": {
        "region": {
            "label": "Region",
            "description": "The project's region, such as cn-north-4. Required without an endpoint.",
            "schema": {"type": ["string", "null"]},
        },
        "project_id": {
            "label": "Project ID",
            "description": "The ID of the region's project. Required.",
            "schema": {"type": ["string", "null"]},
        },
        "security_token": {
            "label": "Security Token",
            "description": "Only for temporary keys.",
            "schema": {"type": ["string", "null"], "format": "password"},
        },
        "iam_domain": {
            "label": "IAM Account Name",
            "description": "If set, login and password belong to an IAM user, and requests are authenticated "
            "with an IAM token.",
            "schema": {"type": ["string", "null"]},
        },
        "iam_endpoint": {
            "label": "IAM Endpoint",
            "description": "IAM endpoint to request tokens from, instead of the region's.",
            "schema": {"type": ["string", "null"]},
        },
    },
}

_QINGCLOUD_HPC: dict[str, Any] = {
    "connection-type": "qingcloud_hpc",
    "hook-class-name": "airflow_provider_ehpc.hooks.qingcloud.QingCloudHpcHook",
    "hook-name": "QingCloud HPC",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "port"],
        "relabeling": {
            "login": "Access Key ID",
            "password": "Secret Access Key",
            "host": "Endpoint",
        },
        "placeholders": {
            "host": "default: hpc.api.qingcloud.com",
            "zone": "jinan1a",
            "cluster_id": "ehpc-…",
        },
    },
    "conn-fields": {
        "zone": {
            "label": "Zone",
            "description": "The clusters' zone, such as jinan1a. Required.",
            "schema": {"type": ["string", "null"]},
        },
        "time_zone": {
            "label": "Time Zone",
            "description": "The zone of the cluster's clocks, such as Asia/Shanghai. Default: UTC.",
            "schema": {"type": ["string", "null"]},
        },
        "cluster_id": {
            "label": "Default Cluster ID",
            "description": "The cluster of tasks that do not name one.",
            "schema": {"type": ["string", "null"]},
        },
    },
}
