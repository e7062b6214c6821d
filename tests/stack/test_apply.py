"""``mvstack apply`` and ``destroy`` on a machine with systemd, over SSH."""

import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from booted import PYTHON, Booted, booted, why_not
from gateways import wait_for
from household import DOMAIN, LOGIN, certificate, free_ports
from mvsqlite_stack import config
from mvsqlite_stack.secrets import Secrets

STACK = """\
[stack]
domain = "{domain}"
gateway = "nginx"
[hosts.home]
address = "127.0.0.1"
gateway = true
ssh_port = {ssh}
ssh_key = "{key}"
python = "{python}"
[ports]
listen = ["127.0.0.1"]
http = {http}
https = {https}
sign_in = {sign_in}
certificates = {certificates}
status = {status}
status_page = {status_page}
[tls]
acme = "anna@example.org"
[users.anna]
name = "Anna Ärmel"
[apps.notes]
on = "home"
port = {notes}
allow = ["*"]
command = ["/usr/bin/python3", "-m", "http.server", "{{port}}", "--bind", "{{listen}}"]
secrets = ["SESSION_SECRET"]
[apps.old]
on = "home"
port = {old}
allow = ["*"]
command = ["/usr/bin/python3", "-m", "http.server", "{{port}}", "--bind", "{{listen}}"]
"""
CERTBOT = """\
#!/bin/sh
# What certbot does at the end of a good day: it has a certificate, and runs the hook that is given last.
set -e
mkdir -p /etc/letsencrypt/live/mvstack
cp /etc/trial/cert.pem /etc/letsencrypt/live/mvstack/fullchain.pem
cp /etc/trial/key.pem /etc/letsencrypt/live/mvstack/privkey.pem
echo "fetched" >>/var/log/letsencrypt/letsencrypt.log
for hook; do :; done
RENEWED_LINEAGE=/etc/letsencrypt/live/mvstack sh -c "$hook"
"""
INSTALLED = """
Package: certbot
Status: install ok installed
Maintainer: nobody <nobody@example.org>
Architecture: all
Version: 99
Description: stands in for that which asks an authority
"""
pytestmark = pytest.mark.lmdb_only("one machine is set up by all of them, and its stores are embedded ones")
PORTS = ("http", "https", "sign_in", "certificates", "status", "status_page", "notes", "old")


@dataclass
class Home:
    """A declared household and the machine for it."""

    directory: Path
    machine: Booted
    https: int

    @property
    def file(self) -> Path:
        return self.directory / "stack.toml"

    def mvstack(self, *words: str, status: int = 0) -> str:
        """What a command writes, which never is a secret."""
        command = [sys.executable, "-m", "mvsqlite_stack", *words, "--file", str(self.file)]
        environment = {**os.environ, "HOME": str(self.machine.home)}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=120
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, said
        for path in (self.directory / "secrets").rglob("*"):
            if path.is_file() and path.name not in ("signing", "rotation.json"):
                assert path.read_bytes().decode(errors="replace") not in said
        return said

    def json(self, *words: str) -> Any:
        return json.loads(self.mvstack(*words, "--json"))

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text()
        assert old in text
        self.file.write_text(text.replace(old, new))

    def ask(self, host: str, path: str = "/") -> tuple[int, str]:
        """Status and body that the gateway answers."""
        context = ssl.create_default_context(cafile=self.directory / "cert.pem")
        with (
            socket.create_connection(("127.0.0.1", self.https), 20) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{self.https}\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode())
            response = http.client.HTTPResponse(connection)
            response.begin()
            return response.status, response.read().decode()

    def knows_the_certificate(self) -> bool:
        """Whether the gateway has that which certbot has fetched, no more that which stood in for it."""
        try:
            return self.ask(LOGIN)[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    def property_of(self, unit: str, name: str) -> str:
        return self.machine.run("systemctl", "show", "--value", "-p", name, unit).strip()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    why = why_not()
    if why:
        pytest.skip(why)
    directory = tmp_path_factory.mktemp("home")
    certificate(directory)
    files = {f"/etc/trial/{name}": (directory / name).read_text() for name in ("cert.pem", "key.pem")}
    files["/usr/bin/certbot"] = CERTBOT
    others = re.sub(r"Package: certbot\n(?:.+\n)*\n*", "", Path("/var/lib/dpkg/status").read_text())
    files["/var/lib/dpkg/status"] = f"{others.rstrip()}\n{INSTALLED}"
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    with booted(directory, files) as machine:
        one = Home(directory, machine, ports["https"])
        one.file.write_text(
            STACK.format(domain=DOMAIN, ssh=machine.port, key=machine.key, python=PYTHON, **ports)
        )
        Secrets(directory / "secrets").create(config.read(one.file))
        yield one


def test_a_host_whose_key_is_not_known_is_not_spoken_to(home: Home) -> None:
    home.machine.is_known(False)
    assert "Connect once by hand and compare the key" in home.mvstack("plan", status=1)
    home.machine.is_known()


def test_a_household_is_set_up(home: Home) -> None:
    applied = home.json("apply", "--yes")
    assert applied["failed"] == {}
    wait_for("the fetched certificate", home.knows_the_certificate)
    status, page = home.ask(LOGIN)
    assert (status, "Sign in" in page) == (200, True)
    assert home.ask(f"notes.{DOMAIN}")[0] in (302, 303, 401)
    link = urlsplit(applied["invitations"]["anna"])
    status, page = home.ask(LOGIN, f"{link.path}?{link.query}")
    assert (status, "Welcome, Anna Ärmel" in page) == (200, True)
    _see_whose_files_are(home)
    assert home.property_of("mvstack-certificate.service", "Result") == "success"
    assert "Nothing was changed." in home.mvstack("apply")


def test_the_machine_itself_sees_the_same(home: Home) -> None:
    """Without SSH, with the programs that it was given."""
    lines = [line for line in home.file.read_text().splitlines() if not line.startswith(("ssh_", "address"))]
    copy = home.directory / "copy"
    copy.mkdir()
    (copy / "stack.toml").write_text(
        "\n".join(lines).replace("[hosts.home]", '[hosts.home]\naddress = "localhost"')
    )
    shutil.copytree(home.directory / "secrets", copy / "secrets")
    home.machine.send(copy, "/root/copy")
    said = home.machine.run("cd /root/copy && /opt/mvstack/bin/mvstack plan")
    assert said == "Everything is as declared.\n"


def _see_whose_files_are(home: Home) -> None:
    """The sign-in service's are its own, even when root has used them; secrets are for nobody else."""
    assert "anna" in home.machine.run("/opt/mvstack/bin/mvstack", "user", "list")
    assert home.machine.run("systemctl start mvstack-gc.service && echo done") == "done\n"
    others = "find /var/lib/mvstack ! -user mvstack ! -path '/var/lib/mvstack/tls*'"
    assert home.machine.run(others) == ""
    secrets = "/etc/mvstack/secrets /var/lib/mvstack/signin/keys"
    assert home.machine.run(f"find {secrets} -type f ! -perm 0600") == ""
    assert home.machine.run(f"find {secrets} -type f").count("\n") == 5


def test_a_change_is_made_as_planned(home: Home) -> None:
    gateway = home.property_of("mvstack-nginx.service", "MainPID")
    home.change("[users.anna]\n", "[users.ben]\n[users.anna]\n")
    home.file.write_text(home.file.read_text().partition("[apps.old]")[0])
    planned = home.json("plan")
    home.machine.run("systemd-run -q --unit=another flock /run/mvstack-apply.lock sleep 600")
    assert "another apply is at work on this host" in home.mvstack("apply", "--yes", status=1)
    home.machine.run("systemctl stop another")
    applied = home.json("apply", "--yes")
    assert (applied["changes"], [*applied["invitations"]]) == (planned, ["ben"])
    done = {(one["name"], one["action"]) for one in planned if one["kind"] == "unit"}
    assert done == {
        ("mvstack-app-old.service", "stop"),
        ("mvstack-firewall.service", "reload"),
        ("mvstack-signin.service", "restart"),
        ("mvstack-status.service", "restart"),
        ("mvstack-nginx.service", "reload"),
    }
    assert home.property_of("mvstack-app-old.service", "LoadState") == "not-found"
    assert home.property_of("mvstack-nginx.service", "MainPID") == gateway
    assert home.ask(LOGIN)[0] == 200


def test_what_cannot_work_leaves_what_runs(home: Home) -> None:
    """A certificate that is none, and a declaration that needs the gateway to read it again."""
    before = home.file.read_text()
    configuration = home.machine.run("cat", "/etc/mvstack/nginx/nginx.conf")
    certificate = "/var/lib/mvstack/tls/fullchain.pem"
    home.machine.run(f"cp -p {certificate} {certificate}.kept && echo none >{certificate}")
    home.change('allow = ["*"]\ncommand', 'allow = ["*"]\npublic_paths = ["/about"]\ncommand')
    assert "give --yes to go ahead" in home.mvstack("apply", status=2)
    assert "cannot load certificate" in home.mvstack("apply", "--yes", status=1)
    assert home.machine.run("cat", "/etc/mvstack/nginx/nginx.conf") == configuration
    assert home.ask(LOGIN)[0] == 200
    home.machine.run(f"mv {certificate}.kept {certificate}")
    home.file.write_text(before)


def test_a_unit_that_does_not_run_is_told_with_its_journal(home: Home) -> None:
    home.change('"http.server"', '"no_such_module"')
    said = home.mvstack("apply", "--yes", status=1)
    assert "mvstack-app-notes.service" in said
    assert "No module named no_such_module" in said
    assert home.ask(LOGIN)[0] == 200


def test_destroying_leaves_data(home: Home) -> None:
    kept = "/var/lib/mvstack/store /var/lib/mvstack/signin/keys/signing /etc/mvstack/secrets/apps"
    said = home.mvstack("destroy", "--yes")
    assert "stays: /var/lib/mvstack " in said
    assert home.machine.run("ls -d /etc/systemd/system/mvstack-* 2>/dev/null || echo none") == "none\n"
    assert home.machine.run("systemctl list-units --plain --no-legend 'mvstack-*'") == ""
    assert home.machine.run("find /etc/mvstack -type f ! -path '*/secrets/*'") == ""
    assert {*home.machine.run(f"ls -d {kept}").split()} == {*kept.split()}
