"""Makes cellsearch/data/kjv_new_testament.txt.xz again from Debian's archive, and compares its
checksum.

Usage: python scripts/fetch_text.py [--check]

Needs apt-get and dpkg-deb (any Debian or Ubuntu whose archive holds bible-kjv 4.38) and
libreadline8. Nothing is installed: the two packages are unpacked into a temporary folder, and the
retrieval program in them prints the verses. ``--check`` compares with the file in the checkout and
writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import lzma
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("bible-kjv", "bible-kjv-text")
VERSES = "Mat1:1-Rev22:21"
SHA256 = "5b3ab8d5fc7ce0f82cf21d3128c15e169df48257103f9d001bef5ced0bc62ffa"
TARGET = Path(__file__).parent.parent / "cellsearch" / "tasks" / "data" / "kjv_new_testament.txt.xz"


def fetch() -> bytes:
    """The text, from freshly downloaded packages."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=folder, check=True)
        for package in sorted(Path(folder).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), "root"], cwd=folder, check=True)
        data = Path(folder, "root/usr/lib")
        # The program looks for its data in the current folder, and asks for commands unless its
        # standard input is empty.
        lines = subprocess.run(
            ["../bin/bible", "-f", VERSES],
            cwd=data,
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
    return re.sub(rb"^\S+ ", b"", lines.stdout, flags=re.MULTILINE)


def main() -> int:
    """Fetch, compare, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="compare with the file in the checkout, write nothing"
    )
    arguments = parser.parse_args()
    text = fetch()
    digest = hashlib.sha256(text).hexdigest()
    if digest != SHA256:
        print(
            f"error: the archive gives another text: sha256 {digest}, {len(text)} bytes",
            file=sys.stderr,
        )
        return 1
    if arguments.check:
        same = lzma.decompress(TARGET.read_bytes()) == text
        print("same" if same else "different")
        return 0 if same else 1
    TARGET.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    print(f"wrote {TARGET}: {len(text)} characters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
