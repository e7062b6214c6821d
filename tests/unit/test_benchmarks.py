"""The benchmarks run and answer what they ask; how fast is not a test's business."""

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import common, run_all
from benchmarks.cluster_kit import Absent

NAMES = [module.__name__.rpartition(".")[2] for module in run_all.BENCHMARKS]


@pytest.mark.lmdb_only("measures the default engine")
@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_answers_every_question(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    settings = common.Settings(tmp_path, rounds=1, size="toy")
    try:
        figures = module.run(settings)
    except Absent as absent:
        pytest.skip(str(absent))
    assert [figure.question for figure in figures] == module.QUESTIONS
    assert all(figure.median(common.OURS) is not None for figure in figures)
    assert list(tmp_path.iterdir()) == []
    json.loads(common.as_json(settings, figures))
    assert common.table(name, figures).row_count == len(figures)


def test_every_benchmark_is_run_by_run_all() -> None:
    helpers = {"__init__", "common", "rows", "workloads", "run_all", "cluster_kit", "delay"}
    files = {path.stem for path in Path(common.__file__).parent.glob("*.py")}
    assert files - helpers == {*NAMES, "cluster"}
    assert run_all.cluster is importlib.import_module("benchmarks.cluster")


def test_every_aim_is_about_a_question_that_is_asked() -> None:
    asked = {question.key for module in run_all.BENCHMARKS for question in module.QUESTIONS}
    assert {aim.key for aim in run_all.AIMS} <= asked


def figure(better: bool, **samples: list[float]) -> common.Figure:
    question = common.Question("commits.1", "?", "x", better)
    names = {"ours": common.OURS.name, "delete": common.DELETE.name}
    return common.Figure(question, {names[key]: values for key, values in samples.items()})


def test_ratios_are_paired_by_round_and_above_one_when_we_are_better() -> None:
    assert figure(True, ours=[10, 40, 90], delete=[10, 20, 30]).ratio(common.DELETE) == 2
    assert figure(False, ours=[10, 40, 90], delete=[10, 20, 30]).ratio(common.DELETE) == 0.5
    assert figure(True, ours=[10]).ratio(common.DELETE) is None


def test_a_missed_aim_is_reported_and_nothing_more() -> None:
    made = run_all.summary([figure(True, ours=[1], delete=[10])])
    assert next(iter(made.columns[2].cells)) == "missed"
    assert "not measured" in list(made.columns[2].cells)


def test_a_failing_worker_is_an_error_with_its_message() -> None:
    with pytest.raises(RuntimeError, match="CantOpenError"):
        common.in_processes(
            importlib.import_module("benchmarks.memory").workload,
            [(common.DELETE, Path("/nonexistent"), 1)],
        )
