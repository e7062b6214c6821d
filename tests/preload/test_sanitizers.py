"""The preload library under sanitizers, in a program that is not built with them."""

import subprocess
from pathlib import Path

import pytest

from mvsqlite_py import _binding
from mvsqlite_py._run.plan import LIBRARY
from preloaded import Preloaded, compiled, program

NATIVE = Path(__file__).parents[2] / "native"
PARTS = {"base": ("error", "json", "logging", "settings"), "route": ("map", "pattern", "stub")}
BEFORE = ("loader", "real")
"""The sanitizers ask these for functions before they are ready themselves."""
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-fPIC", "-fvisibility=hidden", "-fno-omit-frame-pointer")


def build(place: Path, sanitizers: str) -> Path:
    """The library beside the core as it is installed."""
    sources = [*(NATIVE / "preload").glob("*.c")]
    sources += [NATIVE / part / f"{name}.c" for part, names in PARTS.items() for name in names]
    sanitize = f"-fsanitize={sanitizers}"
    for source in sources:
        extra = [] if source.stem in BEFORE else [sanitize, "-fno-sanitize-recover=all"]
        made = place / f"{source.parent.name}-{source.stem}.o"
        subprocess.run([program("gcc"), *FLAGS, *extra, "-c", source, "-o", made], check=True)
    library = place / LIBRARY.name
    script = f"-Wl,--version-script={NATIVE / 'preload' / 'exports.map'}"
    objects = sorted(map(str, place.glob("*.o")))
    subprocess.run([program("gcc"), "-shared", sanitize, *objects, "-o", library, script], check=True)
    (place / _binding.LIBRARY.name).symlink_to(_binding.LIBRARY)
    return library


def runtime(name: str) -> str:
    """The sanitizer's library, which must come first."""
    done = subprocess.run(
        [program("gcc"), f"-print-file-name={name}"], capture_output=True, text=True, check=True
    )
    if not Path(done.stdout.strip()).is_absolute():
        pytest.skip(f"gcc has no {name}")
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("sanitizers", "library"), [("address,undefined", "libasan.so"), ("thread", "libtsan.so")]
)
def test_nothing_is_found(preloaded: Preloaded, tmp_path: Path, sanitizers: str, library: str) -> None:
    (place := tmp_path / "built").mkdir()
    preloaded.extra = {
        "LD_PRELOAD": f"{runtime(library)} {build(place, sanitizers)}",
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1",
    }
    flags = [] if sanitizers != "thread" else ["-fsanitize=thread"]
    client = compiled(Path(__file__).with_name("client.c"), place, *flags, "-lsqlite3", "-lpthread")
    preloaded.run(client, "open", "a.db", "CREATE TABLE t(a)", "INSERT INTO t VALUES ('x')")
    preloaded.run(client, "threads", "a.db", "8", "3")
    if sanitizers != "thread":
        preloaded.run(client, "fork", "a.db")
        preloaded.run(client, "race", f"file:{preloaded.data}/a.db?concurrency=optimistic")
        preloaded.run(client, "16", "b.db", "CREATE TABLE t(a)")
        preloaded.run(program("mv"), "b.db", "a.db")
        preloaded.run(program("rm"), "a.db")
        preloaded.run(
            client, "uri", "file:c%2edb?mode=rwc", "SELECT 1", status=1, MVSQLITE_STORE="lmdb:/dev/null/x"
        )
    preloaded.extra = {}
    assert preloaded.names() == (set() if sanitizers != "thread" else {"a"})
