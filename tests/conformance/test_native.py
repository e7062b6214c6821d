"""The C core's own test programs, built with sanitizers and run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "native"
MEMORY = "address,undefined"
THREADS = "thread"
KEPT = ("PATH", "MVSQLITE_FDB_CLIENT", "XDG_RUNTIME_DIR")
"""Of the environment."""

# Memory is enough for tests that do not pull the plug, and spares hundreds of syncs.
SCRATCH = Path("/dev/shm")
SCRATCH_BYTES = 256 << 20


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("native-objects")


@pytest.fixture
def engine(request: pytest.FixtureRequest, store_url: str) -> str:
    """What the programs take for the engine: "lmdb:" makes directories of its own."""
    return "lmdb:" if request.config.getoption("--store") == "lmdb" else store_url


@pytest.fixture
def environment(engine: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Scratch directories where they are cheap; sanitizers that stop at what they find.

    The cluster's client library keeps what it holds until the process ends, and is not built for the
    thread sanitizer, which sees nothing of its locks: what it does within itself is not looked at.
    """
    (suppressions := tmp_path / "tsan").write_text("called_from_lib:libfdb_c.so\nrace:libfdb_c.so\n")
    roomy = os.access(SCRATCH, os.W_OK) and shutil.disk_usage(SCRATCH).free > SCRATCH_BYTES
    with tempfile.TemporaryDirectory(dir=SCRATCH if roomy else tmp_path) as scratch:
        yield {name: os.environ[name] for name in KEPT if name in os.environ} | {
            "TMPDIR": scratch,
            "ASAN_OPTIONS": f"detect_leaks={int(engine == 'lmdb:')}",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            "TSAN_OPTIONS": f"halt_on_error=1:die_after_fork=0:suppressions={suppressions}",
        }


def run_tests(
    objects: Path, environment: dict[str, str], compiler: str, sanitizers: str, *command: str
) -> None:
    """Builds the program that the command begins with, and runs the command."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    place = objects / f"{compiler}-{sanitizers.replace(',', '-')}"
    make = ["make", "-s", "-j2", f"CC={compiler}", f"SANITIZE={sanitizers}", f"OBJ={place}", command[0]]
    for step in (make, [str(place / command[0]), *command[1:]]):
        done = subprocess.run(
            step,
            cwd=SOURCES,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(step)}\n{done.stdout}"
    assert "tests passed" in done.stdout


def test_the_engine_keeps_the_seams_promises(objects: Path, environment: dict[str, str], engine: str) -> None:
    run_tests(objects, environment, "gcc", MEMORY, "test_kv", engine, f"fault:{engine}")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_store_keeps_its_promises(
    objects: Path, environment: dict[str, str], engine: str, compiler: str
) -> None:
    if compiler == "clang" and engine != "lmdb:":
        pytest.skip("one compiler is enough where every commit takes milliseconds")
    run_tests(objects, environment, compiler, MEMORY, "test_store", *at(engine))


def test_the_nth_call_fails_for_every_n(objects: Path, environment: dict[str, str], engine: str) -> None:
    run_tests(objects, environment, "gcc", MEMORY, "test_faults", *at(engine))


def test_threads_of_the_engine_do_not_race(objects: Path, environment: dict[str, str], engine: str) -> None:
    run_tests(objects, environment, "gcc", THREADS, "test_kv", engine, f"fault:{engine}")


def test_threads_of_the_store_do_not_race(objects: Path, environment: dict[str, str], engine: str) -> None:
    run_tests(objects, environment, "gcc", THREADS, "test_store", "threads", "walk", *at(engine))


@pytest.mark.lmdb_only("about paths, which have no engine")
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_routes_and_stubs(objects: Path, environment: dict[str, str], compiler: str) -> None:
    run_tests(objects, environment, compiler, MEMORY, "test_route")


def at(engine: str) -> list[str]:
    """The argument that names the engine: without one it is the embedded one."""
    return [] if engine == "lmdb:" else [engine]
