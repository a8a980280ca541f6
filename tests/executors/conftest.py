"""One Ray cluster for the tests of a file that do not need one of their own: starting it takes
seconds.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from cellsearch.executors.ray_cluster import RayCluster

    cluster = RayCluster(
        "local", allow_unauthenticated=False, log_dir=tmp_path_factory.mktemp("ray")
    )
    cluster.connect(workers=2, data_bytes=0, folder=None)
    yield
    cluster.disconnect()
