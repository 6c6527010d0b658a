# SPDX-License-Identifier: Apache-2.0
"""The connection forms of Airflow 3.1, which reads them from the hooks' classes.

Later versions read them from the provider's description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_ehpc.compat import reads_declared_forms

H = TypeVar("H", bound=type)


def with_form(form: Mapping[str, Any]) -> Callable[[H], H]:
    """Give the hook of a connection type the form from ``connection_types.py``, if Airflow needs it there.

    Later versions warn of hooks that have these methods.
    """

    def add(hook: H) -> H:
        if not reads_declared_forms():
            # On the class itself: Airflow does not look at its bases.
            hook.get_ui_field_behaviour = staticmethod(lambda: _behaviour(form))  # type: ignore[attr-defined]
            hook.get_connection_form_widgets = staticmethod(lambda: _widgets(form))  # type: ignore[attr-defined]
        return hook

    return add


def _behaviour(form: Mapping[str, Any]) -> dict[str, Any]:
    behaviour = form["ui-field-behaviour"]
    return {name.replace("-", "_"): value for name, value in behaviour.items()}


def _widgets(form: Mapping[str, Any]) -> dict[str, Any]:
    # Airflow replaces these names if the packages are not installed.
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import PasswordField, StringField
    from wtforms.validators import Optional, any_of

    def widget(field: Mapping[str, Any]) -> Any:
        schema = field["schema"]
        secret = schema.get("format") == "password"
        # This form cannot require a field.
        label = f"{field['label']} (required)" if schema["type"] == "string" else field["label"]
        return (PasswordField if secret else StringField)(
            lazy_gettext(label),
            validators=[Optional(), *([any_of(schema["enum"])] if "enum" in schema else [])],
            description=field["description"],
            default=schema.get("default"),
            widget=BS3PasswordFieldWidget() if secret else BS3TextFieldWidget(),
        )

    return {name: widget(field) for name, field in form["conn-fields"].items()}
