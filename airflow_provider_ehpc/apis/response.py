# SPDX-License-Identifier: Apache-2.0
"""Typed responses that tolerate deviations from the documentation.

The documented types and the sample responses disagree, and both change (``"4096"`` and ``4096``, ``true`` and
``"true"``, ``"testJob\\n"``). A field is therefore declared with the type that it means, and its value is
converted to that type. A value that cannot be converted counts as absent: one odd value must not hide all
others, and one odd row must not end the waits for all jobs of a cluster. Undocumented fields are in
``model_extra``.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from airflow_provider_ehpc.apis.call import ApiCall, ApiResponse, UnexpectedResponse, foreign
from airflow_provider_ehpc.apis.json_text import parse_json as parse_json

_LONGEST_TIME = 40
"""Maximum number of characters in a time."""
_EPOCH = re.compile(r"[0-9]{1,16}(\.[0-9]*)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_INT64 = 2**63

T = TypeVar("T")


def as_text(value: Any) -> str:
    """Return a JSON value as text without surrounding white space; empty for null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_number(value: Any) -> int | None:
    """Return a whole number that was sent as a number or as digits; None for anything else.

    Airflow cannot send a number of more than 64 bits to its other processes: it becomes None, too.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = as_text(value)
    # int() also accepts 1_0 and digits of other scripts.
    if not _WHOLE.fullmatch(text):
        return None
    number = int(text) if len(text) <= 20 else _INT64
    return number if -_INT64 <= number < _INT64 else None


def _id(value: Any) -> str:
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        raise ValueError("an ID is a text or a number")
    return as_text(value)


def _flag(value: Any) -> bool | None:
    text = as_text(value).lower()
    return text in ("true", "1") if isinstance(value, str) or text in ("true", "false", "0", "1") else None


def _time(value: Any) -> datetime | None:
    """Read ISO 8601 with or without a zone, epoch seconds or epoch milliseconds, as a number or text."""
    text = as_text(value)
    return _parse_time(text) if len(text) <= _LONGEST_TIME else None


# A list that is read every few seconds mostly contains the same times.
@functools.lru_cache(maxsize=4096)
def _parse_time(text: str) -> datetime | None:
    try:
        if _EPOCH.fullmatch(text):
            number = float(text)
            # Both units occur in one E-HPC response (DescribeServerlessJobs: StartTime, LastModifyTime).
            number = number / 1000 if number >= 10**11 else number
            time = datetime.fromtimestamp(number, UTC) if number else None
        else:
            time = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    # Some servers send their language's zero for "no time" (Go: 0001-01-01T00:00:00Z). And near the smallest
    # and largest datetime, a change of the zone or by an hour raises OverflowError.
    return time if time and 1970 <= time.year < 9999 else None


def _items(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, dict) and len(value) == 1 and isinstance(inner := next(iter(value.values())), list):
        value = inner  # E-HPC 2018-04-12 wraps some lists: {"Jobs": {"JobInfo": [..]}}
    items = value if isinstance(value, list) else [value] if value else []
    try:
        return read(items)
    except ValidationError as error:
        if not isinstance(value, list):
            raise
        odd = _places(error)
    # Odd rows are not dropped, because the number of rows shows if a page is full.
    return read([{} if number in odd else item for number, item in enumerate(items)])


def _places(error: ValidationError) -> set[int | str]:
    """Return the names of the fields, or the numbers of the rows, that an error is about."""
    details = error.errors(include_input=False, include_url=False, include_context=False)
    return {detail["loc"][0] for detail in details if detail["loc"]}


Text = Annotated[
    # Nearly all values are texts, which pydantic's core reads without calling Python: a page of fifty jobs
    # has a thousand.
    Annotated[str, StringConstraints(strict=True, strip_whitespace=True)]
    | Annotated[str, BeforeValidator(as_text)],
    Field(union_mode="left_to_right"),
]
"""A text without surrounding white space; empty if the response has null or nothing."""
Id = Annotated[str, BeforeValidator(_id)]
"""An identifier, sent as a text or a whole number."""
Number = Annotated[int | None, BeforeValidator(as_number)]
"""A whole number, sent as a number or as digits; None for anything else."""
Flag = Annotated[bool | None, BeforeValidator(_flag)]
Time = Annotated[datetime | None, BeforeValidator(_time)]
"""A time, without a zone if the cloud sent none; None if it is missing or unreadable."""
Items = Annotated[list[T], WrapValidator(_items)]
"""A list, also if the response has only one item in place of a list; empty for anything else. An unreadable
item becomes one without fields."""


def pascal(name: str) -> str:
    """Return the name of a field in the style ``LikeThis``."""
    return "".join(word[:1].upper() + word[1:] for word in name.split("_"))


class ResponseModel(BaseModel):
    """A part of a response. Unknown fields are in ``model_extra``.

    A field of the wrong type gets its default, unless it is essential.
    """

    model_config = ConfigDict(extra="allow", populate_by_name=True, frozen=True)

    log_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold pieces of a log, by the names in the response."""
    essential: ClassVar[frozenset[str]] = frozenset()
    """Fields, by the names in the response, whose wrong type is an error: with its default in its place, the
    response would mean an unknown job or an empty list. They may be absent, null or empty."""

    @model_validator(mode="wrap")
    @classmethod
    def _without_odd_fields(cls, fields: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(fields)
        except ValidationError as error:
            if not isinstance(fields, dict):
                raise
            odd = _places(error)
            if any(fields.get(str(name)) for name in odd & cls.essential):
                raise
            return read({name: value for name, value in fields.items() if name not in odd})


class PascalResponseModel(ResponseModel):
    """A response with field names in the style ``LikeThis``, as Alibaba Cloud uses them."""

    model_config = ConfigDict(alias_generator=pascal)


class VerbatimResponseModel(ResponseModel):
    """A part of a response that also has the original fields, for records that must not differ from them."""

    raw: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _save_raw(cls, fields: Any) -> Any:
        return {**fields, "raw": dict(fields)} if isinstance(fields, dict) else fields


A = TypeVar("A", bound=ResponseModel)


def json_object(response: ApiResponse, logs: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    """Return the JSON object in a response's body.

    :param logs: names of fields that hold pieces of a log.
    :raises ForeignResponse: for any other body; the error shows its beginning.
    """
    if not 300 <= response.status < 400:
        try:
            fields = parse_json(response.body, logs)
        except ValueError:
            fields = None
        if isinstance(fields, dict):
            return fields
    raise foreign(response)


_COMMON_FIELDS = frozenset({"code", "message", "name", "request_id", "status", "type"})
"""Fields that the JSON of health checks, gateways and web frameworks also has."""


@functools.lru_cache
def field_names(model: type[ResponseModel]) -> frozenset[str]:
    """Return the model's fields, by their names in a response, that only the API itself sends."""
    names = set(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else (alias, field.alias)
        names.update(name for name in choices if isinstance(name, str))
    return frozenset(names) - _COMMON_FIELDS


def read_model(model: type[A], fields: Mapping[str, Any], *, status: int, request_id: str | None) -> A:
    """Read ``fields`` as ``model``.

    :raises UnexpectedResponse: naming the field that does not fit.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UnexpectedResponse(
            f"the response's field {field} is not as documented: {first['msg']}",
            status=status,
            request_id=request_id,
        ) from None


def same_id(one: str, other: str) -> bool:
    """Return True if two texts are the same ID."""
    return one.strip().casefold() == other.strip().casefold()


def about(
    call: ApiCall[A],
    asked: str,
    ids: Callable[[A], Iterable[str]],
    same: Callable[[str, str], bool] = same_id,
) -> ApiCall[A]:
    """Return a call that raises :class:`UnexpectedResponse` if the response is about another object.

    A cache or a proxy may mix up responses, and the end of one job must not be taken for that of another.

    :param asked: the requested ID.
    :param ids: returns the IDs in the response; a response without IDs is accepted.
    """

    def read(response: ApiResponse) -> A:
        result = call.read(response)
        given = [text for text in ids(result) if text]
        if given and not any(same(asked, text) for text in given):
            raise UnexpectedResponse(
                f"the response is about {given[0]!r}, not about {asked!r}",
                status=response.status,
                request_id=getattr(result, "request_id", None),
                hint="Check if a cache or a proxy in front of the API mixes up responses.",
            )
        return result

    return replace(call, read=read)
