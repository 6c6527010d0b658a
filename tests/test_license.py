# SPDX-License-Identifier: Apache-2.0
"""Every source file names its license in its first line: files are also read outside of their repository."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
SPDX = "# SPDX-License-Identifier: Apache-2.0"


def test_every_source_file_names_its_license():
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    sources = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".sh"}]
    assert len(sources) > 100

    without = []
    for path in sources:
        lines = path.read_text().splitlines()
        if lines and lines[0].startswith("#!"):
            del lines[0]
        if lines[:1] != [SPDX]:
            without.append(str(path.relative_to(ROOT)))
    assert not without, f"begin these files with {SPDX!r}, after a shebang"
