"""The VFS as a Python class, for those who want to wrap or observe it."""

from typing import Any

import apsw

from mvsqlite_py._connections import VFS_NAME, load_into_apsw, register_alias


class VFS(apsw.VFS):
    """An ``apsw.VFS`` over the native one. Derive from it, override what you want to see or change.

    name: under which SQLite knows it; connect with ``connect(..., vfs=name)``. Methods that are
    not overridden go to the native VFS. To observe files, override ``xOpen`` and return an
    instance of a class derived from :class:`VFSFile`. A class that overrides nothing is the
    native VFS under another name: no call passes through Python.
    """

    def __init__(self, name: str, **options: Any) -> None:
        if name == VFS_NAME:
            raise ValueError(f"the name {VFS_NAME!r} is the native VFS's own: choose another")
        load_into_apsw()
        self.vfs_name = name
        if any(hasattr(method, "__code__") for method in self._methods()):
            super().__init__(name, VFS_NAME, **options)
        else:
            super().__init__(f"{name}-python", VFS_NAME, **options)
            register_alias(name)

    def _methods(self) -> list[Any]:
        return [getattr(type(self), name) for name in dir(type(self)) if name.startswith("x")]


class VFSFile(apsw.VFSFile):
    """A file of :class:`VFS`: every method goes to the native file unless overridden."""

    def __init__(self, filename: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(VFS_NAME, filename, flags)
