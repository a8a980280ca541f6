"""The pictures and the gallery page in docs/ are those that the code writes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_gallery", DOCS / "make_gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_up_to_date(gallery: ModuleType) -> None:
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page(), (
        "run python docs/make_gallery.py"
    )


def test_pictures_are_up_to_date(gallery: ModuleType) -> None:
    stale = [
        n
        for n, svg in gallery.pictures().items()
        if (DOCS / "pictures" / f"{n}.svg").read_text(encoding="utf-8") != svg
    ]
    assert not stale, "run python docs/make_gallery.py"


def test_random_cell_has_forty_nodes(gallery: ModuleType) -> None:
    assert 38 <= len(gallery.forty_nodes().nodes) <= 42


def test_every_picture_of_the_page_exists(gallery: ModuleType) -> None:
    text = gallery.page()
    for name in gallery.zoo.names():
        assert f"pictures/{name}.svg" in text
        assert (DOCS / "pictures" / f"{name}.svg").is_file()
