"""Contract suites, generators and plain evaluators: what authors of strategies, tasks, backends and
executors test with.
"""
