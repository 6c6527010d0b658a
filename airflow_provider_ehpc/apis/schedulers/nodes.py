# SPDX-License-Identifier: Apache-2.0
"""Node lists as Slurm and PBS write them, such as ``compute[002,005-007]``."""

from __future__ import annotations

import functools
import itertools
import math
import re

_MOST_NODES = 10_000
"""Maximum number of names in one node list; no E-HPC cluster has as many nodes."""
_LONGEST_NODE_LIST = 100_000
"""Maximum length of a node list in characters; a longer one is not read."""
_LONGEST_NAME = 255
"""Maximum length of a host name in characters (RFC 1123 2.1)."""
_NODE = re.compile(r"(?:[^,\s\[\]]|\[[^\[\]]*\])++")
_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def node_names(text: str) -> tuple[str, ...]:
    """Split ``compute000``, ``compute[002,005-007]``, ``rack[0-1]n[1-4]`` and ``['compute2', 'compute3']``
    into names. If there are too many, the rest of the list is not expanded.
    """
    # Long lists are rare, and caching a thousand of them would waste memory.
    return _cached_node_names(text) if len(text) <= 200 else _node_names(text)


def _node_names(text: str) -> tuple[str, ...]:
    stripped = text.strip()
    if len(stripped) > _LONGEST_NODE_LIST:
        return ()
    if stripped.startswith("["):
        stripped = stripped.strip("[]").replace("'", "").replace('"', "")
    nodes: list[str] = []
    too_many = False
    for item in _NODE.findall(stripped):
        names = [item] if too_many else _expanded(item)
        too_many = too_many or names is None or len(nodes) + len(names) > _MOST_NODES
        nodes += [item] if names is None or too_many else names
    return tuple(nodes[:_MOST_NODES])


_cached_node_names = functools.lru_cache(maxsize=1024)(_node_names)


def _expanded(item: str) -> list[str] | None:
    """Expand ``rack[0-1]n[002,005-007]``; return None if the names are too many or too long."""
    # Literals and ranges alternate: rack, 0-1, n, 1-4 and an empty literal.
    parts = [_numbers(part) if index % 2 else [part] for index, part in enumerate(_RANGES.split(item, 4))]
    if math.prod(map(len, parts)) > _MOST_NODES or sum(max(map(len, part)) for part in parts) > _LONGEST_NAME:
        return None
    return ["".join(name) for name in itertools.product(*parts)]


def _numbers(ranges: str) -> list[str]:
    """Return the numbers in ``002,005-007`` with their zeros; at most one more than the maximum of names."""
    numbers: list[str] = []
    for part in ranges.split(","):
        bounds = _RANGE.fullmatch(part.strip())
        first, last = (int(bounds[1]), int(bounds[2])) if bounds else (0, -1)
        if bounds and first <= last:
            last = min(last, first + _MOST_NODES - len(numbers))
            numbers += [f"{number:0{len(bounds[1])}}" for number in range(first, last + 1)]
        else:
            numbers.append(part.strip())
    return numbers
