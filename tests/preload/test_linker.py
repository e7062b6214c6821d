"""dlopen and dlsym are libc's for everybody else, and copies of SQLite are told apart."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mvsqlite_py import _binding
from mvsqlite_py._run.plan import LIBRARY
from preloaded import Preloaded, program

NEIGHBOUR = Path(__file__).with_name("neighbour.c")


def build(place: Path, name: str, *options: str) -> None:
    linker = "-Wl,--no-as-needed,--enable-new-dtags"
    command = [program("gcc"), "-D_GNU_SOURCE", "-fPIC", linker, str(NEIGHBOUR), "-o", name]
    subprocess.run([*command, *options], cwd=place, check=True)


def test_who_asks_is_who_asked(preloaded: Preloaded) -> None:
    """RTLD_NEXT is seen from the library that says it, and RUNPATH is that of who opens a library."""
    (found := preloaded.place / "found").mkdir()
    build(found, "libfound.so", "-shared", "-DINNER")
    build(preloaded.place, "libinner.so", "-shared", "-DINNER")
    build(preloaded.place, "libouter.so", "-shared", "-DOUTER", "-L.", "-linner", "-Wl,-rpath,$ORIGIN")
    here = f"-Wl,-rpath,$ORIGIN:{found}"
    build(preloaded.place, "program", "-L.", "-louter", "-linner", here)
    expected = "outer inner found 1\n"
    assert preloaded.run(preloaded.place / "program", LD_PRELOAD="").stdout == expected
    assert preloaded.run(preloaded.place / "program").stdout == expected


def test_a_library_that_is_bound_to_its_own_first(preloaded: Preloaded, built: Path) -> None:
    """PHP opens its extensions with RTLD_DEEPBIND, which puts their libraries before us."""
    module = built / "module.so"
    source = built / "module.c"
    source.write_text(
        '#include <sqlite3.h>\nint go(void) { sqlite3 *db; int rc = sqlite3_open("a.db", &db);'
        'if (!rc) rc = sqlite3_exec(db, "CREATE TABLE t(a)", 0, 0, 0); sqlite3_close(db); return rc; }'
    )
    subprocess.run([program("gcc"), "-shared", "-fPIC", str(source), "-o", module, "-lsqlite3"], check=True)
    preloaded.python(f"""
        import ctypes
        module = ctypes.CDLL({str(module)!r}, mode=os.RTLD_DEEPBIND | os.RTLD_NOW)
        assert module.go() == 0
    """)
    assert preloaded.names() == {"a"}


@pytest.fixture
def second_copy(tmp_path: Path) -> Path:
    """Another libsqlite3, as a program may bring one along."""
    code = "import sqlite3; print(open('/proc/self/maps').read())"
    maps = subprocess.run([program("python3"), "-c", code], capture_output=True, text=True, check=True).stdout
    libraries = [line.split()[-1] for line in maps.splitlines() if "/libsqlite3.so" in line]
    if not libraries:
        pytest.skip("this system's Python is not linked to libsqlite3")
    (place := tmp_path / "second").mkdir()
    return Path(shutil.copy(libraries[0], place / "libother.so"))


def test_two_copies_in_one_program(preloaded: Preloaded, second_copy: Path) -> None:
    """Each has connections of its own, and both are routed."""
    preloaded.python(f"""
        import ctypes
        other = ctypes.CDLL({str(second_copy)!r})
        def run(db, sql):
            assert other.sqlite3_exec(db, sql, None, None, None) == 0, sql
        mine = sqlite3.connect("mine.db")
        db = ctypes.c_void_p()
        assert other.sqlite3_open(b"theirs.db", ctypes.byref(db)) == 0
        for turn in range(3):
            mine.execute("CREATE TABLE IF NOT EXISTS t(a)")
            mine.execute("INSERT INTO t VALUES (?)", [turn])
            mine.commit()
            run(db, b"CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES (1)")
            run(db, b"ATTACH 'third.db' AS third; CREATE TABLE third.t%d(a); DETACH third" % turn)
        other.sqlite3_close(db)
        mine.close()
    """)
    assert preloaded.names() == {"mine", "theirs", "third"}
    assert preloaded.rows("theirs", "SELECT count(*) FROM t") == [(3,)]


def test_the_preload_library_needs_nothing_but_libc() -> None:
    done = subprocess.run(["ldd", LIBRARY], capture_output=True, text=True, check=True)
    needed = {line.split()[0] for line in done.stdout.splitlines()}
    allowed = ("linux-vdso", "libc.so", "libpthread.so", "libdl.so", "/lib", "linux-gate")
    assert [name for name in needed if not name.startswith(allowed)] == []


def test_only_what_stands_for_others_is_exported() -> None:
    done = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], capture_output=True, text=True, check=True)
    exported = {line.split()[2] for line in done.stdout.splitlines()}
    assert not [name for name in exported if name.startswith(("mv_", "mvi_", "mvp_", "mvr_", "mvv_"))]
    assert {
        "sqlite3_open",
        "sqlite3_open_v2",
        "sqlite3_open16",
        "sqlite3_step",
        "rename",
        "dlsym",
    } <= exported
    assert _binding.LIBRARY.with_name(LIBRARY.name) == LIBRARY
