"""What runs jobs: in this process, or on Ray workers.

Each executor is a module of its own, so that nobody loads Ray who does not ask for it.
"""
