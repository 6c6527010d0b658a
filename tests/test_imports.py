# SPDX-License-Identifier: Apache-2.0
"""Which way imports go, what importing a DAG's modules costs, and what Airflow is reported of the package."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import airflow_provider_ehpc
from airflow_provider_ehpc.get_provider_info import get_provider_info

PACKAGE = "airflow_provider_ehpc"
ROOT = Path(airflow_provider_ehpc.__file__).parent

# What each part may import of the package, beside itself. Arrows go downwards only.
_BOTTOM = {
    "__init__",
    "apis",
    "compat",
    "diagnosis",
    "exceptions",
    "exit_code",
    "metrics",
    "templates",
    "text",
}
_HOOKS = _BOTTOM | {"hooks", "arguments"}
_WAITING = _HOOKS | {"waiting"}
_TRIGGERS = _WAITING | {
    "polling",
    "events",
    "logs",
    "audit",
    "outcome",
    "summary",
    "lineage",
    "task",
    "triggers",
    "escalation",
    "recording",
}
_TASKS = _TRIGGERS | {"sensors", "operators", "links", "submission", "job_arguments", "job_record"}
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "apis": set(),
    "compat": set(),
    "exceptions": {"apis", "compat", "diagnosis"},
    "exit_code": set(),
    "metrics": {"compat"},
    "text": set(),
    "diagnosis": {"apis", "text"},
    "templates": set(),
    "arguments": _BOTTOM | {"hooks"},
    "hooks": _BOTTOM | {"connection_types"},
    "waiting": _WAITING,
    # Neither of the next four imports another of them: what they share is in waiting.
    "polling": _WAITING,
    "events": _WAITING,
    "logs": _WAITING,
    "audit": _HOOKS,
    "job_record": {"apis", "compat"},
    "submission": _WAITING | {"job_record"},
    "job_arguments": _HOOKS | {"exit_code"},
    "escalation": {"apis", "compat"},
    "retry": _BOTTOM | {"escalation"},
    "summary": {"__init__", "apis"},
    "outcome": _WAITING | {"logs", "summary"},
    "lineage": {"apis", "exceptions"},
    "recording": _WAITING | {"logs", "links"},
    "task": _WAITING | {"outcome", "summary", "links", "lineage", "recording"},
    "triggers": _TRIGGERS,
    "sensors": _TRIGGERS | {"links"},
    "operators": _TASKS,
    "decorators": _TASKS,
    "links": _HOOKS,
    "cli": _TASKS,
    "connection_types": set(),
    "get_provider_info": {"__init__", "connection_types"},
    # It reads what tasks recorded, and calls no cloud.
    "ui": {"__init__", "apis", "compat", "recording"},
    "emulator": {"__init__", "apis"},
}
PURE = (
    "diagnosis.__init__",
    "diagnosis.cause",
    "diagnosis.lines",
    "diagnosis.patterns",
    "diagnosis.status",
    "summary",
    "waiting.stop",
    "waiting.conditions",
    "waiting.final_status",
    "waiting.verdict",
    "waiting.watch",
    "waiting.wording",
    "events.job_diff",
    "logs.lines",
    "logs.cursor",
    "logs.follow",
    "logs.arrival",
    "logs.reader",
    "logs.rerun",
    "logs.steps",
    "logs.tail",
    "recording.record",
    "text",
    "audit.window",
)
"""Logic without Airflow and without input or output."""
WORLD = {
    "airflow",
    "requests",
    "aiohttp",
    "httpx",
    "tenacity",
    "urllib3",
    "socket",
    "asyncio",
    "time",
    "random",
}
"""What ``apis/`` may not touch: it has no input or output, no clock and no chance of its own."""


def _name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


FILES = {_name(file): file for file in sorted(ROOT.rglob("*.py"))}
"""Every module of the package, by its name below the package."""


@functools.cache
def imported(name: str) -> frozenset[str]:
    """Every module that a module imports anywhere, also inside functions and for types only."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(), name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return frozenset(found)


def top_levels(name: str) -> set[str]:
    """The packages that a module imports from."""
    return {m.split(".")[0] for m in imported(name)}


def part(module: str) -> str:
    """The part of the package that a full module name belongs to."""
    below = module.removeprefix(PACKAGE).lstrip(".")
    first = below.split(".")[0]
    return first if first in ALLOWED else "__init__"


@pytest.mark.parametrize("name", FILES)
def test_imports_go_downwards(name: str) -> None:
    """An import upwards makes a circle sooner or later, and what should be light heavy."""
    own = name.split(".")[0]
    assert own in ALLOWED, f"{own} is a new part of the package: say what it may import"
    above = {m for m in imported(name) if m.split(".")[0] == PACKAGE} - {PACKAGE}
    wrong = {m for m in above if part(m) not in ALLOWED[own] | {own}}
    assert not wrong


def test_no_imports_form_a_cycle() -> None:
    """Nowhere in the package, the emulator included; an import inside a function counts as well."""
    modules = {f"{PACKAGE}.{name}".removesuffix(".__init__"): name for name in FILES}
    left = {module: imported(name) & modules.keys() - {module} for module, name in modules.items()}
    while free := [module for module, needed in left.items() if not needed & left.keys()]:
        for module in free:
            del left[module]
    assert not left, "a cycle is among these, or they import from one"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("apis.")])
def test_apis_touch_nothing_outside(name: str) -> None:
    """What is pure is tested with data alone, and used by the emulator as by the hooks."""
    assert not top_levels(name) & WORLD


@pytest.mark.parametrize("name", PURE)
def test_pure_logic_knows_no_airflow(name: str) -> None:
    assert not top_levels(name) & WORLD


def test_the_emulator_shares_no_code_with_the_hooks() -> None:
    """A mistake that both sides share would be seen by neither."""
    for name in FILES:
        if name.startswith("emulator"):
            assert not [m for m in imported(name) if m.startswith((f"{PACKAGE}.hooks", "airflow."))], name


# Cost


def loaded_by(*imports: str) -> set[str]:
    """The modules that a fresh interpreter has after some imports."""
    code = f"import sys, json; {'; '.join((*imports, 'pass'))}; print(json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(json.loads(ended.stdout.splitlines()[-1]))


SDK = (
    "from airflow.sdk import BaseHook, BaseOperator, BaseSensorOperator, PokeReturnValue, DAG",
    "from airflow.sdk.exceptions import AirflowException",
    "from airflow.providers.common.compat.sdk import conf",
)


@pytest.fixture(scope="module")
def airflow_alone() -> set[str]:
    """What every DAG file loads anyway."""
    return loaded_by(*SDK)


DAG_FILE = [
    f"{kind}.{module.name}"
    for kind in ("sensors", "operators", "decorators")
    for module in pkgutil.iter_modules([str(ROOT / kind)])
]
"""What a DAG file imports of the package."""


@pytest.mark.parametrize("module", DAG_FILE)
def test_a_dag_file_stays_cheap(airflow_alone: set[str], module: str) -> None:
    """A DAG file is parsed in a process of its own, again and again; a client takes half a second."""
    more = loaded_by(*SDK, f"import {PACKAGE}.{module}") - airflow_alone
    # No library beside Airflow's own compatibility layer: no HTTP client, no pydantic, no other provider.
    others = {name for name in more if name.split(".")[0] not in {PACKAGE, *sys.stdlib_module_names}}
    own = ("airflow.providers.common.compat", "airflow.sdk.", "airflow.utils.operator_helpers")
    assert not [name for name in others if not name.startswith(own)]
    assert f"{PACKAGE}.{module}" in more
    ours = {name.removeprefix(f"{PACKAGE}.") for name in more if name.startswith(f"{PACKAGE}.")}
    heavy = ("hooks", "triggers", "emulator", "metrics")
    assert not [name for name in ours if name.split(".")[0] in heavy]
    models = {name.removesuffix(".__init__") for name in FILES if "pydantic" in top_levels(name)}
    # An import of a module of models imports them too.
    assert "apis.response" in models
    assert not ours & models
    assert not [name for name in ours if name.startswith(("apis.aliyun", "apis.huawei", "apis.qingcloud"))]


def test_what_airflow_asks_of_every_provider_is_cheap() -> None:
    """Each ``airflow`` command and each component asks for the description when it starts."""
    more = loaded_by(f"import {PACKAGE}.get_provider_info as it; it.get_provider_info()") - loaded_by()
    others = {name for name in more if name.split(".")[0] not in sys.stdlib_module_names}
    assert others == {PACKAGE, f"{PACKAGE}.get_provider_info", f"{PACKAGE}.connection_types"}


def test_a_dag_file_with_a_watcher_stays_cheap() -> None:
    """The trigger stands in the DAG file itself; what it does in the triggerer is loaded there."""
    base = (*SDK, "from airflow.triggers.base import BaseEventTrigger")
    module = f"{PACKAGE}.triggers.job_finished"
    made = f"from {module} import JobFinishedTrigger; JobFinishedTrigger(api='ehpc').serialize()"
    more = loaded_by(*base, made) - loaded_by(*base)
    assert not {name.split(".")[0] for name in more} & {"requests", "aiohttp", "urllib3", "tenacity", "yarl"}
    ours = {name.removeprefix(f"{PACKAGE}.") for name in more if name.startswith(f"{PACKAGE}.")}
    assert ours <= {
        "apis",
        "apis.call",
        "apis.capabilities",
        "apis.headers",
        "apis.job",
        "apis.json_text",
        "arguments",
        "hooks",
        "triggers",
        "triggers.job_finished",
    }


def test_the_plugin_of_pytest_is_cheap() -> None:
    """pytest loads it in every run on a machine that has the package, whatever is tested."""
    more = loaded_by(f"import {PACKAGE}.emulator.pytest_plugin") - loaded_by("import pytest")
    assert {name for name in more if not name.startswith(PACKAGE)} <= {"airflow_provider_ehpc"}
    assert not [name for name in more if name.startswith(f"{PACKAGE}.hooks")]


# What Airflow discovers


def _schema(name: str) -> dict[str, Any]:
    spec = importlib.util.find_spec("airflow")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    for location in spec.submodule_search_locations:
        file = Path(location) / name
        if file.exists():
            reported: dict[str, Any] = json.loads(file.read_text())
            return reported
    pytest.skip(f"this Airflow has no {name}")


def test_the_provider_info_is_valid() -> None:
    """Airflow drops a provider whose description does not fit, with a line in a log nobody reads."""
    jsonschema.validate(get_provider_info(), _schema("provider_info.schema.json"))


def test_guides_and_logos_exist() -> None:
    """Airflow's schema requires that their paths begin with /docs/."""
    for integration in get_provider_info()["integrations"]:
        paths = [*integration["how-to-guide"], integration["logo"]]
        assert [path for path in paths if not (ROOT.parent / path.lstrip("/")).is_file()] == []
        assert all(path.startswith("/docs/") for path in paths)


def test_the_connection_types_are_valid() -> None:
    """The stricter schema of the official providers knows the fields of the connection form."""
    schema = _schema("provider.yaml.schema.json")
    types = {**schema["properties"]["connection-types"], "definitions": schema.get("definitions", {})}
    jsonschema.validate(get_provider_info()["connection-types"], types)


def test_everything_that_is_named_exists() -> None:
    info = get_provider_info()
    for connection_type in info["connection-types"]:
        module, _, name = connection_type["hook-class-name"].rpartition(".")
        hook = getattr(importlib.import_module(module), name)
        assert hook.conn_type == connection_type["connection-type"]
        assert hook.hook_name == connection_type["hook-name"]
    integrations = {integration["integration-name"] for integration in info["integrations"]}
    for kind in ("hooks", "sensors", "operators", "triggers"):
        for entry in info[kind]:
            assert entry["integration-name"] in integrations
            for module in entry["python-modules"]:
                importlib.import_module(module)


def test_everything_that_exists_is_named() -> None:
    """Otherwise ``airflow providers`` does not list it."""
    info = get_provider_info()
    named = {
        m
        for kind in ("hooks", "sensors", "operators", "triggers")
        for e in info[kind]
        for m in e["python-modules"]
    }
    public = {
        f"{PACKAGE}.{kind}.{module.name}"
        for kind in ("sensors", "operators", "triggers")
        for module in pkgutil.iter_modules([str(ROOT / kind)])
        if module.name != "base"
    }
    assert public <= named


FORMS = {
    "aliyun_ehpc": (
        ("aliyun", "base", "roles"),
        {"region"},
        {"cluster_id", "time_zone", "credentials", "security_token", "user_password"}
        | {"role_arn", "role_session_name", "external_id", "role_name", "sts_endpoint"}
        | {"oidc_provider_arn", "oidc_token_file_path"},
    ),
    "huawei_modelarts": (
        ("huawei", "base"),
        {"region", "project_id"},
        {"credentials", "security_token", "iam_domain", "iam_endpoint"},
    ),
    "qingcloud_hpc": (("qingcloud", "base"), {"zone"}, {"cluster_id", "time_zone"}),
}
"""By connection type: modules that read the fields, required fields, optional ones."""


@pytest.mark.parametrize("connection_type", FORMS)
def test_the_form_names_what_the_hook_reads(connection_type: str) -> None:
    """A field of the form that nobody reads is a promise, and one that it lacks cannot be filled in."""
    modules, required, optional = FORMS[connection_type]
    source = "".join((ROOT / "hooks" / f"{name}.py").read_text() for name in (*modules, "account"))
    (form,) = [t for t in get_provider_info()["connection-types"] if t["connection-type"] == connection_type]
    fields = form["conn-fields"]
    assert set(fields) == required | optional
    assert set(list(fields)[: len(required)]) == required, "required fields come first"
    for name, field in fields.items():
        assert f'"{name}"' in source
        assert field["label"]
        assert field["description"]
        secret = name in ("security_token", "user_password")
        assert ("format" in field["schema"]) == secret, "only secrets are hidden"
        assert (field["schema"]["type"] == "string") == (name in required), "the form marks required fields"
    behaviour = form["ui-field-behaviour"]
    assert set(behaviour["relabeling"]) == {"login", "password", "host"}
    # Placeholders of other fields are not shown.
    assert set(behaviour["placeholders"]) == {"login", "password", "host", "port"}


def test_airflow_shows_the_forms() -> None:
    """Airflow 3.1 asks the hooks for them, later versions the provider."""
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    shown = {meta.connection_type: meta for meta in HookMetaService.hook_meta_data()}
    for conn_type, (_, required, optional) in FORMS.items():
        meta = shown[conn_type]
        assert meta.standard_fields
        assert meta.standard_fields.login
        assert meta.standard_fields.login.title.startswith("Access Key ID")
        assert meta.standard_fields.login.placeholder.startswith("required")
        assert set(meta.extra_fields) == required | optional
        for name in required:
            schema = meta.extra_fields[name]["schema"]
            assert schema["type"] == "string" or schema["title"].endswith("(required)")


def test_the_form_offers_what_the_hooks_know() -> None:
    from airflow_provider_ehpc.hooks import huawei, roles

    for form, fields in (("aliyun_ehpc", roles.FIELDS), ("huawei_modelarts", huawei.FIELDS)):
        (found,) = [t for t in get_provider_info()["connection-types"] if t["connection-type"] == form]
        assert set(found["conn-fields"]["credentials"]["schema"]["enum"]) == set(fields)


def test_airflow_finds_the_provider() -> None:
    from airflow.providers_manager import ProvidersManager

    info = get_provider_info()
    manager = ProvidersManager()
    assert info["package-name"] in manager.providers, "the package is not installed: pip install -e ."
    hooks = {name: hook for name, hook in manager.hooks.items() if hook}
    assert hooks["aliyun_ehpc"].hook_class_name == f"{PACKAGE}.hooks.aliyun.EhpcHook"


@pytest.mark.parametrize("group", ["apache_airflow_provider", "airflow.plugins", "pytest11"])
def test_the_entry_points_are_registered_and_lead_somewhere(group: str) -> None:
    """Without the first, Airflow knows neither connection types nor links; pip writes them."""
    from importlib.metadata import entry_points

    ours = [entry for entry in entry_points(group=group) if entry.value.startswith(PACKAGE)]
    assert ours
    for entry in ours:
        entry.load()


def test_no_class_name_is_used_twice() -> None:
    """A name that means two things sends a reader to the wrong file."""
    places: dict[str, list[str]] = {}
    for name, file in FILES.items():
        for node in ast.walk(ast.parse(file.read_text(), name)):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert not {name: found for name, found in places.items() if len(found) > 1}
