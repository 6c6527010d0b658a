# SPDX-License-Identifier: Apache-2.0
"""Remove the marker of a captured exit code from a log."""

from __future__ import annotations

from airflow_provider_ehpc.exit_code import ANY_TOKEN, take, without_begun


class ExitCodeFilter:
    """Remove the markers from lines, and save the exit code of the last one.

    :param token: the token of the job's markers; None if its exit code is not captured. The markers of a job
        that another task has submitted are removed, too.
    """

    def __init__(self, token: str | None) -> None:
        self.code: int | None = None
        self._token = token

    def lines(self, lines: list[str]) -> list[str]:
        """Return complete lines without markers."""
        left = []
        for line in lines:
            text, code = take(line, self._token or ANY_TOKEN)
            if code is None:
                left.append(line)
                continue
            if self._token:
                self.code = code
            # A marker is a line of its own, unless the output before it ends without a line feed.
            if text := text.removesuffix("\r"):
                left.append(text)
        return left

    def half(self, text: str) -> str:
        """Return the beginning of a line without its markers, and without an incomplete marker at its end."""
        return without_begun(text, self._token or ANY_TOKEN)
