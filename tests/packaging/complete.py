# SPDX-License-Identifier: Apache-2.0
"""Check that a source distribution has the files of the repository: ``complete.py dist/*.tar.gz``."""

from __future__ import annotations

import subprocess
import sys
import tarfile

MADE = {"PKG-INFO"}
"""What only the source distribution has."""


def main(archive: str) -> None:
    """Compare the archive with git."""
    with tarfile.open(archive) as tar:
        packed = {member.name.partition("/")[2] for member in tar if not member.isdir()}
    tracked = set(subprocess.check_output(["git", "ls-files", "-z"], text=True).rstrip("\0").split("\0"))
    if packed - MADE != tracked:
        missing, more = sorted(tracked - packed), sorted(packed - MADE - tracked)
        sys.exit(f"{archive}: files are missing: {missing}; files are not in the repository: {more}")
    print(f"{archive}: all {len(tracked)} files of the repository")


if __name__ == "__main__":
    main(sys.argv[1])
