"""A model in C99 for devices: one header and one source file, and a test program."""

from cellsearch.export.c.write import WrittenC, export_c

__all__ = ["WrittenC", "export_c"]
