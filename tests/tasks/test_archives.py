"""Packed files that are damaged, hostile or others: one error, nothing written, bounded memory."""

from __future__ import annotations

import gzip
import io
import lzma
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cellsearch.errors import InputFileError
from cellsearch.tasks.data.archives import of_gzip, of_tar, of_xz, of_zip

CONTENT = b"line of text\n" * 100
NAME = "folder/name.txt"


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return made.getvalue()


def tarred(*members: tuple[str, bytes, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, data, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data), "/etc/passwd"
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


def zip_link() -> bytes:
    info = zipfile.ZipInfo(NAME)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped((info, b"/etc/passwd"))


def twice() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate"):
        return zipped((NAME, CONTENT), (NAME, b"other"))


PLAIN, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
READ: dict[str, Callable[[Path], bytes]] = {
    "zip": lambda path: of_zip(path, NAME, len(CONTENT)),
    "gzip": lambda path: of_gzip(path, len(CONTENT)),
    "xz": lambda path: of_xz(path, len(CONTENT)),
    "tar": lambda path: of_tar(path, r"folder/(\w+)\.txt", len(CONTENT), 1 << 17)["name"],
}
GOOD: dict[str, bytes] = {
    "zip": zipped((NAME, CONTENT), ("other", b"x")),
    "gzip": gzip.compress(CONTENT),
    "xz": lzma.compress(CONTENT),
    "tar": tarred((NAME, CONTENT, PLAIN), ("other", b"x", PLAIN)),
}
BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zip bomb": ("zip", lambda: zipped((NAME, bytes(1 << 26)))),
    "gzip bomb": ("gzip", lambda: gzip.compress(bytes(1 << 26))),
    "xz bomb": ("xz", lambda: lzma.compress(bytes(1 << 26))),
    "tar bomb": ("tar", lambda: tarred((NAME, bytes(1 << 16), PLAIN))),
    "tar bomb beside": ("tar", lambda: tarred(("x", bytes(1 << 26), PLAIN), (NAME, b"", PLAIN))),
    "one byte more": ("zip", lambda: zipped((NAME, CONTENT + b"x"))),
    "zip link": ("zip", zip_link),
    "tar link": ("tar", lambda: tarred((NAME, b"", LINK))),
    "tar hard link": ("tar", lambda: tarred((NAME, b"", HARD))),
    "tar device": ("tar", lambda: tarred((NAME, b"", tarfile.CHRTYPE))),
    "zip twice": ("zip", twice),
    "tar twice": ("tar", lambda: tarred((NAME, CONTENT, PLAIN), (NAME, b"o", PLAIN))),
    "not there": ("zip", lambda: zipped(("../" + NAME, CONTENT), ("/" + NAME, CONTENT))),
    "a page": ("zip", lambda: b"<html>no</html>"),
}


@pytest.mark.parametrize("kind", sorted(READ))
def test_a_good_one_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(GOOD[kind])
    assert READ[kind](tmp_path / "a") == CONTENT


@pytest.mark.parametrize("case", sorted(BAD))
def test_a_hostile_one_is_refused(case: str, tmp_path: Path) -> None:
    kind, make = BAD[case]
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(InputFileError) as caught:
        READ[kind](tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)


@pytest.mark.parametrize("kind", sorted(READ))
def test_every_cut_and_every_flipped_byte_is_found_or_harmless(kind: str, tmp_path: Path) -> None:
    whole, path = GOOD[kind], tmp_path / "a"
    damaged = [whole[:k] for k in range(0, len(whole), 3)]
    damaged += [whole[:k] + bytes([whole[k] ^ 255]) + whole[k + 1 :] for k in range(len(whole))]
    found = 0
    for data in damaged:
        path.write_bytes(data)
        try:
            assert READ[kind](path) == CONTENT  # a byte that means nothing
        except InputFileError:
            found += 1
        except KeyError:  # the name of the member is another now
            found += kind == "tar"
    assert found > len(damaged) / 3


def test_names_that_point_outside_write_nothing(tmp_path: Path) -> None:
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    evil = ("../../evil.txt", "/tmp/cellsearch-evil.txt", "..\\evil.txt", NAME)
    (inside / "a").write_bytes(zipped(*((name, CONTENT) for name in evil)))
    (inside / "b").write_bytes(tarred(*((name, CONTENT, PLAIN) for name in evil)))
    assert READ["zip"](inside / "a") == READ["tar"](inside / "b") == CONTENT
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"deep/inside/a", "deep/inside/b"}
    assert not Path("/tmp/cellsearch-evil.txt").exists()
