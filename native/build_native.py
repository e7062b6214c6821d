"""The cffi builder of ``mvsqlite_py._native``: declarations over libmvsqlite.so.

The module holds no code of its own: it links to the shared library beside it, so that the
extension SQLite loads and the library Python calls are one, with one set of open stores.
"""

from pathlib import Path

from cffi import FFI

here = Path(__file__).parent

builder = FFI()
builder.cdef((here / "cdef.h").read_text())
builder.set_source(
    "mvsqlite_py._native",
    "".join(f'#include "{name}.h"\n' for name in ("rows/rows", "kv/kv_fault", "route/map", "route/stub"))
    + "int mv_vfs_alias(const char *name);\n",
    include_dirs=[str(here)],
    libraries=["mvsqlite"],
    extra_link_args=["-Wl,-rpath,$ORIGIN"],
)
