"""When each value of a program is computed, and where it lies."""
