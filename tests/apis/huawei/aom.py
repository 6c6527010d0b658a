"""A log kept by lines, as both API versions serve it, with all that is not documented as a switch."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_ehpc.apis.call import ApiRequest, ApiResponse
from tests.apis.huawei.drive import answer

CREATED_MS = 1609121837000
FIRST = 1609121886518240330


@dataclass
class AomLog:
    """Lines with their numbers; :attr:`forward` is the word for "newer", ``asc`` in v2 and ``desc`` in v1."""

    lines: list[str] = field(default_factory=list)
    forward: str = "asc"
    inclusive: bool = False
    """Whether the base line itself comes again."""
    doubled: bool = False
    """Whether lines keep their line feed and are joined by another, as in the captured answer."""
    newest_first: bool = False
    """Whether a page going to older lines lists the newest first."""
    knows_any_base: bool = True
    """Whether a base line that is none of its own is understood."""
    reversed_words: bool = False
    """Whether the words for the direction mean the opposite."""
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
        return answer(
            {
                "start_line": str(page[0][0]) if page else "",
                "end_line": str(page[-1][0]) if page else "",
                "lines": len(page),
                "content": ("\n" if self.doubled else "").join(f"{line}\n" for _, line in page),
            }
        )
