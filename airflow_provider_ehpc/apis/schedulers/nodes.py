"""Node lists as Slurm and PBS write them, such as ``compute[002,005-007]``."""

from __future__ import annotations

import functools
import itertools
import math
import re

_MOST_NODES = 10_000
"""Names of one node list that are written out: more than an E-HPC cluster has nodes."""
_LONGEST_NODE_LIST = 100_000
"""Characters of a node list that is read."""
_LONGEST_NAME = 255
"""Characters of a host's name (RFC 1123 2.1)."""
_NODE = re.compile(r"(?:[^,\s\[\]]|\[[^\[\]]*\])++")
_RANGES = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


def node_names(text: str) -> tuple[str, ...]:
    """Split ``compute000``, ``compute[002,005-007]``, ``rack[0-1]n[1-4]`` and ``['compute2', 'compute3']``
    into names. If there are too many, the rest of the list stays as it is.
    """
    # Long lists are rare, and a thousand of them need not stay in memory.
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
    """Return the names that ``rack[0-1]n[002,005-007]`` stands for; None if they are too many or too long."""
    # Literals and ranges alternate: rack, 0-1, n, 1-4, and nothing.
    parts = [_numbers(part) if index % 2 else [part] for index, part in enumerate(_RANGES.split(item, 4))]
    if math.prod(map(len, parts)) > _MOST_NODES or sum(max(map(len, part)) for part in parts) > _LONGEST_NAME:
        return None
    return ["".join(name) for name in itertools.product(*parts)]


def _numbers(ranges: str) -> list[str]:
    """Return the numbers of ``002,005-007`` as they are written, one more than the most if there are more."""
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
