# SPDX-License-Identifier: Apache-2.0
"""Make the two methods of a hook's operation from the function that builds its call.

The methods have the docstring of that function. So it describes the operation, not the function.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from airflow_provider_ehpc.apis.call import ApiCall

if TYPE_CHECKING:
    from airflow_provider_ehpc.hooks.account import Account
    from airflow_provider_ehpc.hooks.base import ApiHook

P = ParamSpec("P")
T = TypeVar("T")
_Methods: TypeAlias = tuple[
    Callable[Concatenate["ApiHook", P], T], Callable[Concatenate["ApiHook", P], Coroutine[Any, Any, T]]
]


def operation(build: Callable[P, ApiCall[T]]) -> _Methods[P, T]:
    """Return two methods that send the call of ``build``; the second is for a running event loop."""

    def call(self: ApiHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(build(*args, **kwargs))

    async def acall(self: ApiHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.acall(build(*args, **kwargs))

    _describe(build, 0, call, acall)
    return call, acall


def operation_in(
    place: Callable[[Account], str], build: Callable[Concatenate[str, P], ApiCall[T]]
) -> _Methods[P, T]:
    """Return the methods of an operation whose first argument is the account's project or zone."""

    def call(self: ApiHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.call(build(place(self.account), *args, **kwargs))

    async def acall(self: ApiHook, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self.acall(build(place(await self.aaccount()), *args, **kwargs))

    _describe(build, 1, call, acall)
    return call, acall


def _describe(build: Callable[..., Any], skipped: int, call: Any, acall: Any) -> None:
    """Give the methods the name, the documentation and the arguments of ``build``."""
    given = list(inspect.signature(build).parameters.values())[skipped:]
    signature = inspect.Signature([inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *given])
    for method, name in ((call, build.__name__), (acall, f"a{build.__name__}")):
        method.__name__ = method.__qualname__ = name
        method.__doc__ = build.__doc__
        method.__signature__ = signature
