"""Builds the C core, libmvsqlite.so (an extension of SQLite too), its cffi module, the preload library."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIBRARY = "mvsqlite_py.libmvsqlite"
PRELOAD = "mvsqlite_py.libmvsqlite_preload"
PARTS = ("base", "kv", "store", "rows", "route", "vfs")
sources = sorted(str(path) for part in PARTS for path in Path("native", part).glob("*.c"))
headers = sorted(str(path) for part in (*PARTS, "preload") for path in Path("native", part).glob("*.h"))
FLAGS = ["-std=c11", "-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wshadow", "-Werror"]

library = Extension(
    LIBRARY,
    sources,
    depends=headers,
    libraries=["lmdb", "zstd", "pthread", "dl"],
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=FLAGS,
    extra_link_args=["-Wl,-soname,libmvsqlite.so"],
)

# Of the core it holds what tells routed paths; it needs nothing but libc.
preload = Extension(
    PRELOAD,
    [
        *sorted(str(path) for path in Path("native", "preload").glob("*.c")),
        *(f"native/base/{name}.c" for name in ("error", "json", "logging", "settings")),
        *(f"native/route/{name}.c" for name in ("map", "pattern", "stub")),
    ],
    depends=[*headers, "native/preload/exports.map"],
    libraries=["pthread", "dl"],
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=[*FLAGS, "-foptimize-sibling-calls"],
    extra_link_args=[
        "-Wl,-soname,libmvsqlite_preload.so,--as-needed",
        "-Wl,--version-script=native/preload/exports.map",
    ],
)


class BuildNative(build_ext):
    """Names the shared libraries plainly, and lets the cffi module find the core's."""

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.rsplit(".", 1)[-1].startswith("libmvsqlite"):
            return str(Path(*fullname.split(".")).with_suffix(".so"))
        return super().get_ext_filename(fullname)

    def build_extensions(self) -> None:
        self.extensions.sort(key=lambda extension: extension.name != LIBRARY)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        if ext.name not in (LIBRARY, PRELOAD):
            ext.library_dirs.append(str(Path(self.get_ext_fullpath(LIBRARY)).parent))
        super().build_extension(ext)


setup(
    ext_modules=[library, preload],
    cffi_modules=["native/build_native.py:builder"],
    cmdclass={"build_ext": BuildNative},
)
