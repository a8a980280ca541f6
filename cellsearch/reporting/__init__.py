"""What a run shows: progress, charts, and the report."""
