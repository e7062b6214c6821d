"""Hosts that cannot be set up: what is said, and that nothing is done."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from household import certificate, declare, free_ports
from mvsqlite_stack.apply import answer, stand_in
from mvsqlite_stack.apply.wheel import read
from mvsqlite_stack.cli import main
from mvsqlite_stack.errors import StackError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    declare(tmp_path, "nginx")
    path, (port,) = tmp_path / "stack.toml", free_ports(1)
    path.write_text(path.read_text().replace("gateway = true", f"gateway = true\nssh_port = {port}"))
    return path


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], prog_name="mvstack")


def test_a_host_that_does_not_answer(file: Path) -> None:
    command = [sys.executable, "-m", "mvsqlite_stack", "plan", "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if text == "[hosts.home]")
    assert done.returncode == 1
    assert f"mvstack: {file}:{line}: hosts.home: home cannot be reached: Could not connect" in done.stderr
    assert "See whether this works: ssh -p" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_host(file: Path) -> None:
    result = run("apply", "--host", "attic", "--file", str(file))
    assert (result.exit_code, "Use one of: home" in result.output) == (1, True)


def test_a_wheel_of_something_else(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-1.0-py3-none-any.whl"
    other.touch()
    result = run("apply", "--wheel", str(other), "--file", str(file))
    assert (result.exit_code, "is not a wheel of this package" in result.output) == (1, True)
    mine = tmp_path / "mvsqlite_py-0.1.0-cp312-cp312-manylinux_2_28_x86_64.whl"
    mine.write_bytes(b"zip")
    wheel = read(mine)
    assert (wheel.make(), wheel.fits((3, 12), "x86_64"), wheel.fits((3, 13), "x86_64")) == (
        b"zip",
        True,
        False,
    )
    with pytest.raises(StackError):
        read(tmp_path / "mvsqlite_py.whl")


def test_a_gateway_that_does_not_answer_is_told() -> None:
    (port,) = free_ports(1)
    assert "refused" in (answer.ask("127.0.0.1", port, "login.example.org") or "")
    with pytest.raises(SystemExit, match="does not answer"):
        answer.main("127.0.0.1", str(port), "login.example.org", "0")


def test_a_certificate_stands_in_only_where_there_is_none(tmp_path: Path) -> None:
    one, key = tmp_path / "one.pem", tmp_path / "one.key"
    made, private = stand_in.make(["login.example.org", "notes.example.org"])
    stand_in.write(one, made, None)
    stand_in.write(key, private, None)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(one, key)
    assert key.stat().st_mode & 0o777 == 0o640
    certificate(tmp_path)
    before = (tmp_path / "cert.pem").read_bytes()
    stand_in.main(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), "root", "login.example.org")
    assert (tmp_path / "cert.pem").read_bytes() == before
