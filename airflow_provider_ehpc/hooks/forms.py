# SPDX-License-Identifier: Apache-2.0
"""Provide the connection forms for Airflow 3.1, which reads them from the hook classes.

Later versions read the forms from the provider's description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from airflow_provider_ehpc.compat import reads_declared_forms

H = TypeVar("H", bound=type)


def with_form(form: Mapping[str, Any]) -> Callable[[H], H]:
    """Add a form from ``connection_types.py`` to the hook of a connection type, if Airflow reads it there.

    Later versions log a warning if a hook has these methods.
    """

    def add(hook: H) -> H:
        if not reads_declared_forms():
            # Set them on the class itself: Airflow ignores its base classes.
            hook.get_ui_field_behaviour = staticmethod(lambda: _behaviour(form))  # type: ignore[attr-defined]
            hook.get_connection_form_widgets = staticmethod(lambda: _widgets(form))  # type: ignore[attr-defined]
        return hook

    return add


def _behaviour(form: Mapping[str, Any]) -> dict[str, Any]:
    behaviour = form["ui-field-behaviour"]
    return {name.replace("-", "_"): value for name, value in behaviour.items()}


def _widgets(form: Mapping[str, Any]) -> dict[str, Any]:
    # If the packages are not installed, Airflow provides replacements for these names.
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextFieldWidget
    from flask_babel import lazy_gettext
    from wtforms import PasswordField, StringField
    from wtforms.validators import Optional, any_of

    def widget(field: Mapping[str, Any]) -> Any:
        schema = field["schema"]
        secret = schema.get("format") == "password"
        # The forms of Airflow 3.1 cannot require a field.
        label = f"{field['label']} (required)" if schema["type"] == "string" else field["label"]
        return (PasswordField if secret else StringField)(
            lazy_gettext(label),
            validators=[Optional(), *([any_of(schema["enum"])] if "enum" in schema else [])],
            description=field["description"],
            default=schema.get("default"),
            widget=BS3PasswordFieldWidget() if secret else BS3TextFieldWidget(),
        )

    return {name: widget(field) for name, field in form["conn-fields"].items()}
