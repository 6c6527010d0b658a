# SPDX-License-Identifier: Apache-2.0
"""Describe this package to Airflow, through the entry point ``apache_airflow_provider``."""

from __future__ import annotations

from typing import Any

from airflow_provider_ehpc import __version__
from airflow_provider_ehpc.connection_types import CONNECTION_TYPES

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
        "connection-types": list(CONNECTION_TYPES),
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
