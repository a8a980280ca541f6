"""Searches without training: simulated scores, and tables of somebody else's trainings."""
