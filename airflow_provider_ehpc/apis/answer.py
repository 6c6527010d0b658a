"""Typed answers that bear what the clouds really send.

The documented types and the sample answers disagree, and both drift (``"4096"`` and ``4096``, ``true`` and
``"true"``, ``"testJob\\n"``). A field is therefore declared as what it means, and what arrives is made
into that; a field nobody documented is kept, in ``model_extra``.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from airflow_provider_ehpc.apis.call import ApiResponse, UnexpectedResponse, foreign


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> int | None:
    try:
        return int(_text(value))
    except ValueError:
        return None


def _flag(value: Any) -> Any:
    return value.strip().lower() == "true" if isinstance(value, str) else value


def _time(value: Any) -> datetime | None:
    """Read ISO 8601 with or without a zone, epoch seconds, or epoch milliseconds; as number or text."""
    return _parse_time(_text(value))


# A list that is read every few seconds tells the same times again and again.
@functools.lru_cache(maxsize=4096)
def _parse_time(text: str) -> datetime | None:
    if not text or text == "0":
        return None
    if text.isdigit():
        number = int(text)
        # Both units occur in one E-HPC answer (DescribeServerlessJobs: StartTime, LastModifyTime).
        return datetime.fromtimestamp(number / 1000 if number >= 10**11 else number, UTC)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


Text = Annotated[
    # Nearly all are texts, which pydantic's core reads without us: a page of fifty jobs has a thousand.
    Annotated[str, StringConstraints(strict=True, strip_whitespace=True)]
    | Annotated[str, BeforeValidator(_text)],
    Field(union_mode="left_to_right"),
]
"""A text without surrounding white space; empty where the answer has null or nothing."""
Number = Annotated[int | None, BeforeValidator(_number)]
"""A whole number, sent as one or as its digits; None where it is neither."""
Flag = Annotated[bool | None, BeforeValidator(_flag)]
Time = Annotated[datetime | None, BeforeValidator(_time)]
"""A time; without a zone where the cloud did not tell one, None where there is none or it is unreadable."""


def _pascal(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


class Answer(BaseModel):
    """A part of an answer, read by its field names; what is unknown stays."""

    model_config = ConfigDict(extra="allow", populate_by_name=True, frozen=True)


class PascalAnswer(Answer):
    """An answer whose fields are spelt ``LikeThis``, as Alibaba Cloud's are."""

    model_config = ConfigDict(alias_generator=_pascal)


class VerbatimAnswer(Answer):
    """A part of an answer that also keeps what arrived, word for word, for a record that must not differ."""

    raw: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _keep(cls, told: Any) -> Any:
        return {**told, "raw": dict(told)} if isinstance(told, dict) else told


A = TypeVar("A", bound=Answer)


def json_object(response: ApiResponse) -> Mapping[str, Any]:
    """Return the JSON object that a response's body holds.

    :raises ForeignResponse: for anything else, with the beginning of what came instead.
    """
    if not 300 <= response.status < 400:
        try:
            told = json.loads(response.body)
        except ValueError:
            told = None
        if isinstance(told, dict):
            return told
    raise foreign(response)


@functools.lru_cache
def field_names(model: type[Answer]) -> frozenset[str]:
    """Return every name under which a response may hold one of the model's fields."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else (alias, field.alias)
        names.update(name for name in choices if isinstance(name, str))
    return frozenset(names)


def read_model(model: type[A], told: Mapping[str, Any], *, status: int, request_id: str | None) -> A:
    """Read ``told`` as ``model``.

    :raises UnexpectedResponse: naming the field that does not fit.
    """
    try:
        return model.model_validate(told)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UnexpectedResponse(
            f"the answer's field {field} is not as documented: {first['msg']}",
            status=status,
            request_id=request_id,
        ) from None
