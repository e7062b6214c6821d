"""The commands, for tests that run them in this process."""

from collections.abc import Callable

from click.testing import Result

from mvsqlite_py._cli.mvrevert import mvrevert
from mvsqlite_py._cli.mvsqlite import mvsqlite

Run = Callable[..., Result]
GROUPS = {"mvsqlite": mvsqlite, "mvrevert": mvrevert}
