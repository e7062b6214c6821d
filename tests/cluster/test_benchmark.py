"""The cluster's benchmark, small, on servers that it starts itself: every figure has its floor."""

import json
from pathlib import Path

import pytest

from benchmarks import cluster, cluster_kit, common
from benchmarks.cluster_kit import FLOOR
from benchmarks.common import OURS


def test_every_operation_stands_beside_its_floor(tmp_path: Path) -> None:
    try:
        cluster.needed()
    except cluster_kit.Absent as absent:
        pytest.skip(str(absent))
    settings = common.Settings(tmp_path, rounds=1, size="toy")
    figures = cluster.run(settings)
    assert {cluster_kit.section_of(figure) for figure in figures} == set(cluster.SECTIONS)
    alone = {"bytes", "again", "seconds", "rounds", "wasted"}  # not of the floor
    for figure in figures:
        assert figure.median(OURS) is not None
        _, _, what, *_, metric = figure.question.key.split(".")
        serial = what in ("locked", "lease") and metric != "rate"  # they wait for each other
        if metric not in alone and what not in ("together", "stale") and not serial:
            assert figure.median(FLOOR) is not None, figure.question.key
    assert list(tmp_path.iterdir()) == []
    assert json.loads(common.as_json(settings, figures, cluster.facts()))["environment"]["foundationdb"]
