# SPDX-License-Identifier: Apache-2.0
"""Check a source distribution: ``complete.py dist/*.tar.gz``.

It must have every file of the repository, and no link in its description that a package index cannot follow.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile

MADE = {"PKG-INFO"}
"""What only the source distribution has."""


def main(archive: str) -> None:
    """Compare the archive with git."""
    with tarfile.open(archive) as tar:
        (info,) = (member for member in tar if member.name.endswith("/PKG-INFO"))
        description = tar.extractfile(info).read().decode()  # type: ignore[union-attr]
        packed = {member.name.partition("/")[2] for member in tar if not member.isdir()}
    tracked = set(subprocess.check_output(["git", "ls-files", "-z"], text=True).rstrip("\0").split("\0"))
    if packed - MADE != tracked:
        missing, more = sorted(tracked - packed), sorted(packed - MADE - tracked)
        sys.exit(f"{archive}: files are missing: {missing}; files are not in the repository: {more}")
    if links := re.findall(r"\]\((?!https?://|#)[^)]*\)", description):
        sys.exit(f"{archive}: the description has relative links: {links}")
    print(f"{archive}: all {len(tracked)} files of the repository")


if __name__ == "__main__":
    main(sys.argv[1])
