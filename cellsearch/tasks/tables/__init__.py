"""Tables of the user's own (CSV, Parquet): what is in a file, and the windows and sequences that
become of it. Free of torch; :mod:`cellsearch.tasks.table` makes tasks of them.
"""
