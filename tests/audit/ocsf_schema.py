# SPDX-License-Identifier: Apache-2.0
"""Checks events by the schema that OCSF publishes."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from airflow_provider_ehpc.audit.ocsf import VERSION


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = get_ocsf_schema(VERSION)
    return schema


@cache
def _validator(*profiles: str) -> jsonschema.Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(_schema()).get_class_schema("api_activity", list(profiles))
    return jsonschema.Draft202012Validator(schema)


def check_event(event: dict[str, Any]) -> None:
    """Check an event, including what JSON Schema cannot express: captions, and deprecated attributes."""
    assert event["metadata"]["version"] == VERSION
    _validator(*event["metadata"]["profiles"]).validate(event)
    _check_attributes(event, _schema()["classes"]["api_activity"]["attributes"])


def _check_attributes(value: dict[str, Any], attributes: dict[str, Any]) -> None:
    for name, child in value.items():
        attribute = attributes[name]
        assert not attribute.get("@deprecated"), f"{name} is deprecated: {attribute['@deprecated']}"
        caption = attribute.get("sibling")
        if caption in value and child != 99:
            assert value[caption] == attribute["enum"][str(child)]["caption"]
        if kind := attribute.get("object_type"):
            for item in child if attribute.get("is_array") else [child]:
                _check_attributes(item, _schema()["objects"][kind]["attributes"])
