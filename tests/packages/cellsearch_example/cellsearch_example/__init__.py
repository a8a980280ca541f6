"""One part of each kind for cellsearch, in a package of its own."""
