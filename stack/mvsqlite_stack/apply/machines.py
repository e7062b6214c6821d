"""Hosts as pyinfra reaches them: over SSH, or this machine itself. Scripts are run there as root."""

import io
import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mvsqlite_stack.errors import Problem, StackError
from mvsqlite_stack.model import Machine
from mvsqlite_stack.places import line_of

CONNECT_SECONDS = 10
UNKNOWN_KEY = "No host key for"
"""In pyinfra's error where known_hosts does not have the host: it would be sent our secrets."""
LINES_TOLD = 12
"""Of what a script that failed has said."""


class ScriptError(Exception):
    """A script failed on a host; the text is what it said."""


class Reached:
    """A host that is connected."""

    def __init__(self, name: str, host: Any, sudo: bool) -> None:
        self.name = name
        self._host, self._sudo = host, sudo

    def tell(self, script: str) -> tuple[bool, list[str], list[str]]:
        """Whether a script ended well, and the lines that it wrote to standard output and error."""
        return self._run(script, self._sudo)

    def run(self, script: str) -> list[str]:
        """Lines of standard output. Raises ScriptError."""
        done, out, err = self.tell(script)
        if not done:
            raise ScriptError("\n".join((err or out)[-LINES_TOLD:]))
        return out

    def _run(self, script: str, sudo: bool) -> tuple[bool, list[str], list[str]]:
        done, output = self._host.run_shell_command(_command(script), _sudo=sudo)
        return done, output.stdout_lines, output.stderr_lines

    @contextmanager
    def staging(self) -> Iterator[str]:
        """A directory there that nobody else can look into, for as long as the block runs."""
        done, out, err = self._run("umask 077; mktemp -d /tmp/mvstack-apply.XXXXXXXX", False)
        if not done or not out:
            raise ScriptError("\n".join(err))
        try:
            yield out[0]
        finally:
            self.tell(f"rm -rf {shlex.quote(out[0])}")

    def send(self, data: bytes, place: str) -> None:
        """Writes a file in the staging directory. Raises ScriptError."""
        from pyinfra.api.exceptions import PyinfraError

        try:
            self._host.put_file(io.BytesIO(data), place)
        except (OSError, PyinfraError) as error:
            raise ScriptError(f"{place} cannot be written: {error}") from error

    def close(self) -> None:
        self._host.disconnect()
        client = getattr(self._host.connector, "client", None)
        if client is not None:
            client.close()


def _command(script: str) -> Any:
    from pyinfra.api.command import StringCommand

    return StringCommand(script)


def reach(name: str, machine: Machine, file: Path, text: str) -> Reached:
    """Connects. Raises StackError if the host cannot be reached, or root cannot be had there.

    file, text: the declaration, for errors.
    """
    # Heavy, and of no use to other commands.
    from pyinfra.api.exceptions import PyinfraError

    def problem(what: str, remedy: str) -> StackError:
        key = ("hosts", name)
        return StackError([Problem(file, what, remedy, line_of(text, key), ".".join(key))])

    try:
        host = _host(name, machine)
        host.connect(show_errors=False, raise_exceptions=True)
    except PyinfraError as error:
        remedy = f"See whether this works: {_ssh(machine)}"
        if UNKNOWN_KEY in str(error):
            remedy = (
                f"Connect once by hand and compare the key that it shows with the host's: {_ssh(machine)}"
            )
        raise problem(f"{name} cannot be reached: {error}", remedy) from error
    reached = Reached(name, host, sudo=False)
    _, out, _ = reached.tell("id -u; sudo -n true 2>/dev/null && echo sudo")
    if out[:1] == ["0"]:
        return reached
    if "sudo" in out[1:]:
        return Reached(name, host, sudo=True)
    reached.close()
    who = machine.ssh_user or ("you" if machine.local else "root")
    remedy = "Let that user use sudo without a password, or log in as root (ssh_user)"
    raise problem(f"{who} cannot become root on {name}", remedy)


def _host(name: str, machine: Machine) -> Any:
    """The host as pyinfra knows it. Raises PyinfraError."""
    from pyinfra.api.config import Config
    from pyinfra.api.inventory import Inventory
    from pyinfra.api.state import State

    logging.getLogger("pyinfra").setLevel(logging.ERROR)
    make_inventory: Any = Inventory
    make_config: Any = Config
    inventory = make_inventory((["@local"] if machine.local else [(name, _data(machine))], {}))
    State(inventory, make_config(CONNECT_TIMEOUT=CONNECT_SECONDS))
    return next(iter(inventory))


def _data(machine: Machine) -> dict[str, Any]:
    data: dict[str, Any] = {
        "ssh_hostname": machine.address,
        "ssh_user": machine.ssh_user or "root",
        "ssh_strict_host_key_checking": "yes",
    }
    if machine.ssh_port:
        data["ssh_port"] = machine.ssh_port
    if machine.ssh_key:
        data["ssh_key"] = str(Path(machine.ssh_key).expanduser())
    return data


def _ssh(machine: Machine) -> str:
    words = ["ssh"]
    if machine.ssh_port:
        words += ["-p", str(machine.ssh_port)]
    if machine.ssh_key:
        words += ["-i", machine.ssh_key]
    return shlex.join([*words, f"{machine.ssh_user or 'root'}@{machine.address}", "true"])
