"""Builds the C core: libmvsqlite.so (also SQLite's loadable extension) and its cffi module."""

from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

LIBRARY = "mvsqlite_py.libmvsqlite"
PARTS = ("base", "kv", "store", "rows", "route", "vfs")
sources = sorted(str(path) for part in PARTS for path in Path("native", part).glob("*.c"))
headers = sorted(str(path) for part in PARTS for path in Path("native", part).glob("*.h"))

library = Extension(
    LIBRARY,
    sources,
    depends=headers,
    libraries=["lmdb", "zstd", "pthread", "dl"],
    define_macros=[("_GNU_SOURCE", "1")],
    extra_compile_args=[
        "-std=c11",
        "-O2",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wshadow",
        "-Werror",
    ],
    extra_link_args=["-Wl,-soname,libmvsqlite.so"],
)


class BuildNative(build_ext):
    """Names the shared library plainly, and lets the cffi module find it."""

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.rsplit(".", 1)[-1] == "libmvsqlite":
            return str(Path(*fullname.split(".")).with_suffix(".so"))
        return super().get_ext_filename(fullname)

    def build_extensions(self) -> None:
        self.extensions.sort(key=lambda extension: extension.name != LIBRARY)
        super().build_extensions()

    def build_extension(self, ext: Extension) -> None:
        if ext.name != LIBRARY:
            ext.library_dirs.append(str(Path(self.get_ext_fullpath(LIBRARY)).parent))
        super().build_extension(ext)


setup(
    ext_modules=[library],
    cffi_modules=["native/build_native.py:builder"],
    cmdclass={"build_ext": BuildNative},
)
