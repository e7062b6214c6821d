"""All benchmarks, and how the figures stand to the aims.

A missed aim is reported, never an error: figures depend on the machine. The exit status is 1
only if a benchmark could not be run.
"""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from rich.table import Table

from benchmarks import (
    bulk_insert,
    bytes_per_version,
    cluster,
    commits,
    diff_one_row,
    full_scan,
    gc,
    history_size,
    household,
    memory,
    mix,
    open_close,
    php_page,
    point_reads,
    preload_start,
    signin,
    status_page,
    time_travel,
    undo,
)
from benchmarks.cluster_kit import Absent
from benchmarks.common import (
    CONTENDERS,
    DELETE,
    OURS,
    Figure,
    Settings,
    arguments,
    as_json,
    console,
    describe,
    environment,
    settings_of,
    shown,
    table,
)

BENCHMARKS: list[ModuleType] = [
    commits,
    point_reads,
    full_scan,
    bulk_insert,
    mix,
    history_size,
    bytes_per_version,
    time_travel,
    diff_one_row,
    memory,
    open_close,
    php_page,
    undo,
    gc,
    preload_start,
    signin,
    household,
    status_page,
]


@dataclass(frozen=True, slots=True)
class Aim:
    """A figure we set ourselves."""

    key: str
    text: str
    value: Callable[[Figure], float | None]
    met: Callable[[float], bool]


def against_delete(figure: Figure) -> float | None:
    return figure.ratio(DELETE)


def plain(figure: Figure) -> float | None:
    return figure.median(OURS)


AIMS = [
    Aim("commits.1", "commits, 1 writer: at least 1.2 x stock DELETE", against_delete, lambda v: v >= 1.2),
    Aim("commits.8", "commits, 8 writers: at least 1.2 x stock DELETE", against_delete, lambda v: v >= 1.2),
    *(
        Aim(key, f"{label}: at least 0.9 x stock DELETE", against_delete, lambda v: v >= 0.9)
        for key, label in [
            ("reads.small", "warm reads, cached by SQLite"),
            ("reads.warm", "warm reads, larger"),
            ("reads.warm.transaction", "warm reads, one transaction"),
        ]
    ),
    *(
        Aim(
            f"history.{how}.all",
            f"history of one update ({how}): at most 400 bytes",
            plain,
            lambda v: v <= 400,
        )
        for how in history_size.PATTERNS
    ),
]


def summary(figures: list[Figure]) -> Table:
    made = Table(title="The aims")
    made.add_column("aim")
    made.add_column("figure", justify="right")
    made.add_column("")
    found = {figure.question.key: figure for figure in figures}
    for aim in AIMS:
        value = aim.value(found[aim.key]) if aim.key in found else None
        mark = "not measured" if value is None else "met" if aim.met(value) else "missed"
        made.add_row(aim.text, shown(value), mark)
    return made


def run_each(
    settings: Settings, show: Callable[[ModuleType, list[Figure]], None]
) -> tuple[list[Figure], int]:
    """All figures, and how many benchmarks failed."""
    figures: list[Figure] = []
    failed = 0
    for benchmark in BENCHMARKS:
        try:
            found = benchmark.run(settings)
        except Absent as absent:
            print(f"{benchmark.__name__}: not measured: {absent}", file=sys.stderr)
            continue
        except Exception:
            traceback.print_exc()
            failed += 1
            continue
        figures += found
        show(benchmark, found)
    return figures, failed


def run_cluster(settings: Settings) -> tuple[list[Figure], dict[str, str], int]:
    """The cluster's figures, if there is a server here; what is to be said of it; how much failed."""
    try:
        return cluster.run(settings), cluster.facts(), 0
    except Absent as absent:
        return [], {"cluster": f"not measured: {absent}"}, 0
    except Exception:
        traceback.print_exc()
        return [], {"cluster": "its benchmark failed"}, 1


def main() -> None:
    assert __doc__
    given = arguments(__doc__).parse_args()
    settings = settings_of(given)
    out = console()

    def show(benchmark: ModuleType, found: list[Figure]) -> None:
        if not given.json:
            title = (benchmark.__doc__ or "").partition("\n")[0]
            out.print(table(title, found, getattr(benchmark, "COLUMNS", CONTENDERS)))

    if not given.json:
        out.print(describe(environment(settings)))
    figures, failed = run_each(settings, show)
    in_cluster, facts, cluster_failed = run_cluster(settings)
    if given.json:
        print(as_json(settings, figures + in_cluster, facts))
    else:
        out.print("; ".join(f"{name}: {fact}" for name, fact in facts.items()))
        cluster.show(out, in_cluster)
        out.print(summary(figures))
    sys.exit(1 if failed or cluster_failed else 0)


if __name__ == "__main__":
    main()
