# SPDX-License-Identifier: Apache-2.0
"""Check keyword arguments that a ``TypedDict`` describes, so that hooks and calls declare them once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_ehpc.apis.call import InvalidArgument


def check_names(keywords: Mapping[str, Any], kind: type) -> None:
    """Check that ``kind`` has every name in ``keywords``.

    :raises InvalidArgument: naming the unknown arguments and the known ones.
    """
    known = kind.__annotations__
    if unknown := sorted(keywords.keys() - known.keys()):
        raise InvalidArgument(f"{', '.join(unknown)}: no such filter; there are {', '.join(sorted(known))}")
