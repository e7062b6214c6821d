"""This package as a wheel, so that hosts run the very programs that set them up."""

import base64
import hashlib
import importlib.metadata
import io
import platform
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mvsqlite_py
import mvsqlite_stack
from mvsqlite_stack.errors import fail

DISTRIBUTION = "mvsqlite-py"
DIGEST_CHARACTERS = 12
PYTHON_MIN = (3, 11)
_NAME = re.compile(
    r"(?P<name>mvsqlite_py-[^-]+)-(?:\d[^-]*-)?(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<system>[^-]+)\.whl"
)
_NOT_PACKED = {"__pycache__", ".mypy_cache", ".pytest_cache"}
_MOMENT = (1980, 1, 1, 0, 0, 0)
"""What zip files say of every file, so that the same files make the same bytes."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of this package."""

    name: str
    """Of the file."""
    digest: str
    """By which an environment made of it is known."""
    make: Callable[[], bytes] = field(repr=False, compare=False)
    """The file's bytes, made when they are needed."""

    def fits(self, python: tuple[int, int], machine: str) -> bool:
        """Whether a Python of that version can run it on such a machine."""
        found = _NAME.fullmatch(self.name)
        if found is None or not found["system"].endswith(f"_{machine}"):
            return False
        made = re.fullmatch(r"cp(\d)(\d+)", found["python"])
        if made is None:
            return False
        version = (int(made[1]), int(made[2]))
        return python == version or (found["abi"] == "abi3" and python > version)


def read(file: Path) -> Wheel:
    """A wheel that was built elsewhere. Raises StackError if it is not one of this package."""
    if not _NAME.fullmatch(file.name):
        raise fail(file, "it is not a wheel of this package", "Build one with: pip wheel --no-deps .")
    try:
        data = file.read_bytes()
        return Wheel(file.name, _digest([data]), lambda: data)
    except OSError as error:
        raise fail(file, error.strerror or "it cannot be read", "Name a file that you can read") from error


def of_this_installation() -> Wheel:
    """Made of the files that run now, whether they are installed or lie in a checkout."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    about = f"mvsqlite_py-{distribution.version}"
    tag = f"{_python()}-linux_{platform.machine()}"
    members = dict(_modules())
    metadata = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    members[f"{about}.dist-info/METADATA"] = metadata.encode()
    members[f"{about}.dist-info/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: mvstack\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    )
    members[f"{about}.dist-info/entry_points.txt"] = _entry_points(distribution).encode()
    digest = _digest(part for name, data in members.items() for part in (name.encode(), data))
    return Wheel(f"{about}-{tag}.whl", digest, lambda: _zipped(members, f"{about}.dist-info/RECORD"))


def _digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:DIGEST_CHARACTERS]


def _python() -> str:
    """Tags for version and binary interface."""
    newest = f"cp{PYTHON_MIN[0]}{PYTHON_MIN[1]}"
    if any(_home(mvsqlite_py.__file__).glob("_native.abi3.so")):
        return f"{newest}-abi3"
    own = "cp" + "".join(platform.python_version_tuple()[:2])
    return f"{own}-{own}"


def _home(file: str | None) -> Path:
    return Path(file or "").resolve().parent


def _modules() -> Iterator[tuple[str, bytes]]:
    for package in (mvsqlite_py, mvsqlite_stack):
        home = _home(package.__file__)
        for path in sorted(home.rglob("*")):
            if path.is_file() and not _NOT_PACKED.intersection(path.parts) and path.suffix != ".c":
                yield f"{home.name}/{path.relative_to(home)}", path.read_bytes()


def _entry_points(distribution: importlib.metadata.Distribution) -> str:
    groups: dict[str, list[str]] = {}
    for point in distribution.entry_points:
        groups.setdefault(point.group, []).append(f"{point.name} = {point.value}\n")
    return "\n".join(f"[{group}]\n{''.join(sorted(groups[group]))}" for group in sorted(groups))


def _zipped(members: dict[str, bytes], record: str) -> bytes:
    lines = []
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    members = {**members, record: "".join([*lines, f"{record},,\n"]).encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, _MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o755 if name.endswith(".so") else 0o644) << 16
            out.writestr(info, data)
    return buffer.getvalue()
