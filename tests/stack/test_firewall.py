"""The rules for loopback: whose programs reach the ports behind the gateway."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from household import declare
from mvsqlite_stack import config, render
from mvsqlite_stack.render.firewall import FILE, TABLE, UNIT

GATEWAY, STATUS, STRANGER = "www-data", "games", "nobody"
"""Users that any Debian has, for ours and for an app's."""
TRY = """
import json, os, pwd, socket, subprocess, sys
rules, port, table = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def reaches(user):
    child = os.fork()
    if child == 0:
        if user != "root":
            os.setuid(pwd.getpwnam(user).pw_uid)
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
        except ConnectionRefusedError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", port))
users = sys.argv[4:]
"a".encode("idna")  # loaded while every file can be read
found = [{user: reaches(user) for user in users}]
for command in (["-f", rules], ["-f", rules], ["delete", "table", "inet", table]):
    subprocess.run(["/usr/sbin/nft", *command], check=True)
    found.append({user: reaches(user) for user in users})
print(json.dumps(found))
"""


def test_only_the_gateway_reaches_what_is_behind_it(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a network of its own")
    if not Path("/usr/sbin/nft").exists() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("nft, ip or unshare is not installed: make test installs nftables and iproute2")
    household = declare(tmp_path, "nginx")
    text = render.files(household.stack, [], "stack.toml")[f"home/{FILE}"]
    rules = tmp_path / "rules"
    rules.write_text(text.replace("mvstack-gateway", GATEWAY).replace("mvstack-status", STATUS))
    users = ("root", GATEWAY, STATUS, STRANGER)
    command = ["unshare", "-n", sys.executable, "-c", TRY, str(rules), str(household.port_of("notes")), TABLE]
    done = subprocess.run([*command, *users], capture_output=True, text=True, check=False, timeout=60)
    if "Operation not permitted" in done.stderr or "not supported" in done.stderr:
        pytest.skip(f"no nftables in this kernel: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    everybody = dict.fromkeys(users, True)
    ours = everybody | {STRANGER: False}
    assert json.loads(done.stdout) == [everybody, ours, ours, everybody]


def test_there_are_no_rules_where_none_are_wanted(tmp_path: Path) -> None:
    declare(tmp_path, "nginx")
    file = tmp_path / "stack.toml"
    file.write_text(file.read_text().replace("[limits]\n", "[limits]\nloopback = false\n"))
    files = render.files(config.read(file), [], "stack.toml")
    assert not [path for path in files if FILE in path or UNIT in path]
