"""Finished and running searches, to look at and to take from."""
