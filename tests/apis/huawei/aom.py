# SPDX-License-Identifier: Apache-2.0
"""A log by lines, as in both API versions, with a switch for each undocumented property."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_ehpc.apis.call import ApiRequest, ApiResponse
from tests.apis.huawei.drive import response

CREATED_MS = 1609121837000
FIRST = 1609121886518240330


@dataclass
class AomLog:
    """Lines with numbers; :attr:`forward` is the word for newer lines, ``asc`` in v2 and ``desc`` in v1."""

    lines: list[str] = field(default_factory=list)
    forward: str = "asc"
    inclusive: bool = False
    """True if a page includes the base line itself."""
    doubled: bool = False
    """True if lines have their line feeds and are joined by further ones, as in the captured response."""
    newest_first: bool = False
    """True if a page of the newest lines is in reverse order."""
    knows_any_base: bool = True
    """True if the base line may be a number that no line has."""
    reversed_words: bool = False
    """True if the words for the direction mean the opposite."""
    requests: list[ApiRequest] = field(default_factory=list)

    def __call__(self, request: ApiRequest) -> ApiResponse:
        self.requests.append(request)
        query = request.query
        numbered = [(FIRST + 10 * n, line) for n, line in enumerate(self.lines)]
        wanted = int(query["lines"])
        assert 1 <= wanted <= 500
        base = query.get("base_line")
        forward = (query["order"] == self.forward) != self.reversed_words
        if base is None:
            page = numbered[-wanted:]
        elif not self.knows_any_base and int(base) not in dict(numbered):
            page = []
        elif forward:
            page = [row for row in numbered if row[0] > int(base) or (self.inclusive and row[0] == int(base))]
            page = page[:wanted]
        else:
            page = [row for row in numbered if row[0] < int(base)][-wanted:]
        if self.newest_first and base is None:
            page.reverse()
        return response(
            {
                "start_line": str(page[0][0]) if page else "",
                "end_line": str(page[-1][0]) if page else "",
                "lines": len(page),
                "content": ("\n" if self.doubled else "").join(f"{line}\n" for _, line in page),
            }
        )
