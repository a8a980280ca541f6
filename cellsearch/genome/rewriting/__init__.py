"""Rules that make a genome simpler without changing the functions that it computes."""
