# SPDX-License-Identifier: Apache-2.0
"""Define the forms of the connection types, in the format of Airflow's ``provider.yaml.schema.json``.

The forms of Airflow 3.3 (``ui/src/pages/Connections``, ``ui/src/components/FlexibleForm``) first show the
standard fields, always in the same order, with a label and a placeholder. Then they show the fields of the
type, in the order below, by ``section``. A field whose type does not include null is required: it has a star,
and without it, the form cannot be saved. These fields have no placeholders, but the form suggests their
``examples``.
"""

from __future__ import annotations

from typing import Any

_PORT = "443 (needed by the Test button of Airflow 3.3.2)"
"""Airflow 3.3.2 rejects the test of a saved connection without a port; apache/airflow#73298 fixes it."""
_ALIYUN_REGIONS = [
    *("cn-hangzhou", "cn-shanghai", "cn-beijing", "cn-zhangjiakou", "cn-huhehaote", "cn-wulanchabu"),
    *("cn-shenzhen", "cn-heyuan", "cn-guangzhou", "cn-chengdu", "cn-qingdao", "cn-wuhan-lr", "cn-hongkong"),
    *("ap-southeast-1", "ap-southeast-5", "ap-northeast-1", "eu-central-1", "me-east-1"),
]
"""The regions in ``alibabacloud-ehpc20240730`` 2.4.0, as suggestions: users can enter others."""
_HUAWEI_REGIONS = [
    *("cn-north-4", "cn-north-9", "cn-north-12", "cn-east-3", "cn-east-4", "cn-south-1", "cn-southwest-2"),
    *("ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "af-south-1", "la-south-2", "sa-brazil-1"),
    *("tr-west-1", "me-east-1"),
]
_ROLE = "Keys of a role: only if Credentials is not access_key"


def _required(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "label": label,
        "description": description,
        "schema": {"type": "string", "minLength": 1, **schema},
    }


def _optional(label: str, description: str, **schema: Any) -> dict[str, Any]:
    return {"label": label, "description": description, "schema": {"type": ["string", "null"], **schema}}


def _choice(description: str, **values: str) -> dict[str, Any]:
    return _optional(
        "Credentials", description, enum=list(values), values_display=values, default="access_key"
    )


_CLUSTER = _optional("Default Cluster ID", "The cluster of tasks that do not name one, such as ehpc-…")

ALIYUN_EHPC: dict[str, Any] = {
    "connection-type": "aliyun_ehpc",
    "hook-class-name": "airflow_provider_ehpc.hooks.aliyun.EhpcHook",
    "hook-name": "Alibaba Cloud E-HPC",
    "ui-field-behaviour": {
        "hidden-fields": ["schema"],
        "relabeling": {"login": "Access Key ID", "password": "Access Key Secret", "host": "Endpoint"},
        "placeholders": {
            "login": "required, unless Credentials names a role",
            "password": "required, unless Credentials names a role",
            "host": "default: ehpc.<region>.aliyuncs.com",
            "port": _PORT,
        },
    },
    "conn-fields": {
        "region": _required(
            "Region", "The region of the clusters, such as cn-hangzhou.", examples=_ALIYUN_REGIONS
        ),
        "cluster_id": _CLUSTER,
        "credentials": _choice(
            "Where keys come from. All but the first need pip install 'airflow-provider-ehpc[aliyun]'.",
            access_key="access_key: Access Key ID and Secret above",
            ram_role_arn="ram_role_arn: a RAM role that the key above assumes",
            ecs_ram_role="ecs_ram_role: the role of the ECS that runs Airflow",
            oidc_role_arn="oidc_role_arn: a role for an OIDC token (RRSA of ACK)",
            default="default: environment variables, profile files or the ECS",
        ),
        "security_token": _optional(
            "Security Token", "Only if the key above is a temporary one.", format="password"
        ),
        "user_password": _optional(
            "Cluster User's Password",
            "For SubmitJobOperator(user=…), if the cluster requires the user's password.",
            format="password",
        ),
        "time_zone": _optional(
            "Time Zone", "The zone of the cluster's clocks, such as Asia/Singapore. Default: UTC+8."
        ),
        "role_arn": _optional(
            "Role ARN",
            "ram_role_arn, oidc_role_arn: such as acs:ram::123456789012:role/airflow.",
            section=_ROLE,
        ),
        "role_session_name": _optional(
            "Role Session Name",
            "ram_role_arn, oidc_role_arn: a name that ActionTrail records. Optional.",
            section=_ROLE,
        ),
        "external_id": _optional(
            "External ID", "ram_role_arn: if the role's trust policy requires one.", section=_ROLE
        ),
        "oidc_provider_arn": _optional(
            "OIDC Provider ARN",
            "oidc_role_arn: such as acs:ram::123456789012:oidc-provider/ack-rrsa. Not needed in pods.",
            section=_ROLE,
        ),
        "oidc_token_file_path": _optional(
            "OIDC Token File",
            "oidc_role_arn: the file with the token. Not needed in pods, because RRSA sets a variable.",
            section=_ROLE,
        ),
        "role_name": _optional(
            "ECS Role Name", "ecs_ram_role: the instance's role. Default: detected.", section=_ROLE
        ),
        "sts_endpoint": _optional(
            "STS Endpoint",
            "ram_role_arn, oidc_role_arn: such as sts-vpc.<region>.aliyuncs.com. Default: sts.aliyuncs.com.",
            section=_ROLE,
        ),
    },
}

HUAWEI_MODELARTS: dict[str, Any] = {
    "connection-type": "huawei_modelarts",
    "hook-class-name": "airflow_provider_ehpc.hooks.huawei.ModelArtsHook",
    "hook-name": "Huawei Cloud ModelArts",
    "ui-field-behaviour": {
        "hidden-fields": ["schema"],
        "relabeling": {
            "login": "Access Key ID (or IAM user)",
            "password": "Secret Access Key (or the user's password)",
            "host": "Endpoint",
        },
        "placeholders": {
            "login": "required, unless Credentials is ecs_agency",
            "password": "required, unless Credentials is ecs_agency",
            "host": "default: modelarts.<region>.myhuaweicloud.com",
            "port": _PORT,
        },
    },
    "conn-fields": {
        "region": _required("Region", "The project's region, such as cn-north-4.", examples=_HUAWEI_REGIONS),
        "project_id": _required(
            "Project ID", "The ID of the region's project (console: My Credentials, API Credentials)."
        ),
        "credentials": _choice(
            "Where keys come from.",
            access_key="access_key: Access Key ID and Secret above",
            iam_user="iam_user: an IAM user's name and password above",
            ecs_agency="ecs_agency: the agency of the ECS that runs Airflow",
        ),
        "iam_domain": _optional("IAM Account Name", "iam_user: the name of the user's account. Required."),
        "iam_endpoint": _optional(
            "IAM Endpoint", "iam_user: where tokens come from. Default: iam.<region>.myhuaweicloud.com."
        ),
        "security_token": _optional(
            "Security Token", "Only if the key above is a temporary one.", format="password"
        ),
    },
}

QINGCLOUD_HPC: dict[str, Any] = {
    "connection-type": "qingcloud_hpc",
    "hook-class-name": "airflow_provider_ehpc.hooks.qingcloud.QingCloudHpcHook",
    "hook-name": "QingCloud HPC",
    "ui-field-behaviour": {
        "hidden-fields": ["schema"],
        "relabeling": {
            "login": "Access Key ID",
            "password": "Secret Access Key",
            "host": "Endpoint",
        },
        "placeholders": {
            "login": "required",
            "password": "required",
            "host": "default: hpc.api.qingcloud.com",
            "port": _PORT,
        },
    },
    "conn-fields": {
        "zone": _required(
            "Zone", "The zone of the clusters, such as jinan1a.", examples=["jinan1a", "jinan1"]
        ),
        "cluster_id": _CLUSTER,
        "time_zone": _optional(
            "Time Zone", "The zone of the cluster's clocks, such as Asia/Shanghai. Default: UTC."
        ),
    },
}

CONNECTION_TYPES = (ALIYUN_EHPC, HUAWEI_MODELARTS, QINGCLOUD_HPC)
