"""Rules of the house that a machine can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
C_FILES = sorted((ROOT / "native").rglob("*.[ch]"))
LIBRARY = [path for top in ("mvsqlite_py", "stack") for path in sorted((ROOT / top).rglob("*.py"))]
PYTHON = LIBRARY + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))
HEADERS = [
    "native/base/error.h",
    "native/store/mvstore.h",
    "native/rows/rows.h",
    "native/kv/kv_fault.h",
    "native/vfs/vfs.h",
    "native/route/map.h",
    "native/route/stub.h",
    "native/route/files.h",
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", C_FILES, ids=relative)
def test_c_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_python_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


def c_functions(text: str) -> list[tuple[str, int]]:
    """Name and number of lines of every function body that begins in column 0."""
    found, lines = [], text.splitlines()
    for i, line in enumerate(lines):
        if line == "{":
            end = next(j for j in range(i, len(lines)) if lines[j] == "}")
            found.append((lines[i - 1], end - i + 1))
    return found


@pytest.mark.parametrize("path", [p for p in C_FILES if p.suffix == ".c"], ids=relative)
def test_c_functions_fit_a_screen(path: Path) -> None:
    assert [f for f in c_functions(path.read_text()) if f[1] > 60] == []


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_python_functions_fit_a_screen(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno and f.end_lineno - f.lineno > 60] == []


def test_one_module_touches_the_native_library() -> None:
    importers = [relative(p) for p in LIBRARY if re.search(r"import _native|_native import", p.read_text())]
    assert importers == ["mvsqlite_py/_binding.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_the_library_does_not_print(path: Path) -> None:
    if "_cli" in path.parts or path.name == "_demo.py":
        pytest.skip("a command prints")
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


def test_tests_do_not_sleep() -> None:
    needle = "time." + "sleep("
    assert [relative(p) for p in sorted((ROOT / "tests").rglob("*.py")) if needle in p.read_text()] == []


def test_no_loose_ends() -> None:
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    assert [relative(p) for p in C_FILES + PYTHON if words.search(p.read_text())] == []


def declarations(text: str) -> set[str]:
    """Function declarations, with spaces evened out and export marks dropped."""
    plain = re.sub(r"^#.*$", "", without_comments(text), flags=re.MULTILINE)
    plain = re.sub(r"\bMV_API\b|\bMV_PRINTF\([^)]*\)", "", plain)
    found = re.findall(r"^\s*[a-z][\w\s*]*\bmv_\w+\([^;{]*\)\s*;", plain, flags=re.MULTILINE)
    return {" ".join(one.split()) for one in found}


def test_what_python_declares_is_what_the_headers_say() -> None:
    headers = set().union(*(declarations((ROOT / h).read_text()) for h in HEADERS))
    cdef = declarations((ROOT / "native/cdef.h").read_text())
    assert cdef
    assert cdef - headers == set()


@pytest.mark.parametrize(
    ("struct", "header"),
    [
        (name, "store/mvstore.h")
        for name in ("mv_info", "mv_snapshot", "mv_version", "mv_usage", "mv_check", "mv_gc")
    ]
    + [("mv_copy", "store/mvstore.h")]
    + [(name, "rows/rows.h") for name in ("mv_rowids", "mv_suspects", "mv_place", "mv_rows_cost")],
)
def test_structs_are_declared_alike(struct: str, header: str) -> None:
    def body(path: str) -> str:
        text = without_comments((ROOT / path).read_text()).replace("MV_TXID_SIZE", "16")
        match = re.search(rf"typedef struct {struct} {{(.*?)}} {struct};", text, flags=re.DOTALL)
        assert match, f"{struct} in {path}"
        return " ".join(match.group(1).split())

    assert body("native/cdef.h") == body(f"native/{header}")


@pytest.mark.parametrize("header", HEADERS)
def test_public_functions_are_documented(header: str) -> None:
    """Every exported function has a comment on its line, or stands in a block that begins with one."""
    bare, covered = [], False
    text = (ROOT / header).read_text()
    for line in text.splitlines():
        if "*/" in line or line.startswith("typedef"):
            covered = True
        elif line.startswith("MV_API") and not covered:
            bare.append(line)
        elif not line.strip():
            covered = False
    assert bare == []


def test_every_name_exported_is_documented_in_the_readme_or_has_a_docstring() -> None:
    import mvsqlite_py

    assert [name for name in mvsqlite_py.__all__ if not getattr(mvsqlite_py, name).__doc__] == []


def test_no_two_modules_of_the_tests_have_one_name() -> None:
    """Outside of packages the first that is imported is the one that all get."""
    modules = [
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in ("conftest.py", "manage.py")
        and not any((above / "__init__.py").exists() for above in path.parents)
    ]
    assert sorted({name for name in modules if modules.count(name) > 1}) == []
