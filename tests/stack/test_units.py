"""Every unit that is rendered: understood by systemd, and closed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from household import declare
from mvsqlite_stack import config, render
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.secrets import Secrets

OPEN_MOST = 25
"""Tenths of systemd-analyze's score, from 0 (closed) to 100, that no service may exceed."""
APPS = """
[apps.pad]
on = "home"
port = 18099
allow = ["*"]
command = ["/bin/true", "100%"]
secrets = ["KEY"]
[apps.pad.database]
route = "preload"
map = { "{state}/*.db" = "{stem}.db" }
"""


@pytest.fixture(scope="module", params=["nginx", "kong"])
def units(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of all units, with programs that are here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    directory = tmp_path_factory.mktemp(request.param)
    declare(directory, request.param)
    file, programs = directory / "stack.toml", directory / "programs"
    programs.mkdir()
    for name in ("python", "mvsqlite", "kong", "nginx", "certbot", "nft"):
        (programs / name).symlink_to(sys.executable)
    text = file.read_text() + APPS
    file.write_text(text.replace("[tls]\n", '[tls]\nacme = "a@example.org"\n'))
    stack, secrets = config.read(file), Secrets(directory / "secrets")
    secrets.create(stack)
    rendered = render.files(stack, secrets.public_keys(), "stack.toml", Layout(programs=str(programs)))
    found = {}
    for path, whole in rendered.items():
        _, folder, name = path.split("/", 2)
        if folder == "systemd":
            found[name], unit = directory / name, whole
            for program in ("/usr/local/bin/kong", "/usr/sbin/nginx", "/usr/bin/certbot", "/usr/sbin/nft"):
                unit = unit.replace(f"{program} ", f"{programs / Path(program).name} ")
            found[name].write_text(unit)
    return found


def test_all_are_there(units: dict[str, Path]) -> None:
    names = {name.removeprefix("mvstack-") for name in units}
    assert {"signin.service", "certificate.timer", "gc.service", "gc.timer", "app-pad.service"} <= names
    assert {"gc-status.service", "gc-app-pad.service", "gc-app-pad.timer"} <= names


def test_systemd_understands_them(units: dict[str, Path]) -> None:
    files = [str(path) for path in units.values()]
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *files], capture_output=True, text=True, check=False
    )
    ours = [line for line in said.stderr.splitlines() if "mvstack" in line]
    assert (said.returncode, ours) == (0, [])


def test_they_are_closed(units: dict[str, Path]) -> None:
    services = {name: path for name, path in units.items() if name.endswith(".service")}
    assert len(services) >= 5
    for name, path in services.items():
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={OPEN_MOST}", str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        assert said.returncode == 0, f"{name}: {said.stdout[-1500:]}{said.stderr}"


def test_what_belongs_to_the_databases_is_done_by_their_owner(units: dict[str, Path]) -> None:
    own, app = units["mvstack-gc.service"].read_text(), units["mvstack-gc-app-pad.service"].read_text()
    assert "\nUser=mvstack\n" in own
    assert "\nUser=mvstack-app-pad\n" in app
    assert "--store lmdb:/var/lib/mvstack-app-pad/store\n" in app
    assert "\nConditionPathExists=/var/lib/mvstack-app-pad/store\n" in app
