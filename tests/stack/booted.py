"""A machine to set up: this system, booted once more by systemd-nspawn, with all changes in memory.

Its root is an overlay of ours in a mount namespace of its own, and it dies with this process: neither
mounts nor processes stay, however a test ends. It shares our network, where its SSH server has a port.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from household import free_ports

PATIENCE = 30.0
"""Seconds until it has booted."""
MASKED = (
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service",
    "systemd-resolved.service",
    "ssh.socket",
    *(
        f"{name}.timer"
        for name in ("apt-daily", "apt-daily-upgrade", "dpkg-db-backup", "e2scrub_all", "man-db")
    ),
)
BOOT = """\
set -e
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
cp -a "$2/." "$1/upper/"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -f "$1/root/etc/machine-id"
exec systemd-nspawn -q --directory="$1/root" --register=no --keep-unit --boot --machine="$3" \\
  --bind-ro="$4:/usr/local/lib/trial-installed" --hostname=home \\
  --console=read-only --link-journal=no --resolv-conf=off --timezone=off \\
  -- --unit=trial.target systemd.log_level=notice
"""
INSTALLED = "/usr/local/lib/trial-installed"
"""Where the machine finds what is installed here."""
PACKAGES = "/usr/local/lib/trial-packages"
"""The same without this package."""
PYTHON = "/usr/local/bin/trial-python"
WITH_PACKAGES = f"""\
#!/bin/sh
# The system's Python, whose environments have libraries already: there is no index to install them from.
case " $* " in *" venv "*) ;; *) exec /usr/bin/python3 "$@" ;; esac
/usr/bin/python3 "$@" --without-pip || exit
for directory; do :; done
for place in "$directory"/lib/python3*/site-packages; do echo {PACKAGES} >"$place/trial.pth"; done
"""
OVERLAY = """\
d=$(mktemp -d) && mount -t tmpfs tmpfs $d && mkdir $d/u $d/w $d/r
mount -t overlay overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/r
found=$?
umount $d/r; umount $d; rmdir $d
exit $found
"""
SSHD = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/trial/host_key
AuthorizedKeysFile /etc/trial/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PidFile none
Subsystem sftp internal-sftp
"""
SSHD_UNIT = """\
[Unit]
DefaultDependencies=no
After=local-fs.target systemd-tmpfiles-setup.service
[Service]
ExecStart=/usr/sbin/sshd -D -e -f /etc/trial/sshd_config
RuntimeDirectory=sshd
"""
TARGET = """\
[Unit]
Requires=basic.target trial-sshd.service
After=basic.target trial-sshd.service
AllowIsolate=yes
"""


def why_not() -> str | None:
    """Why no machine can be booted here; None if one can."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    for program in (
        "systemd-nspawn",
        "/usr/sbin/sshd",
        "/usr/sbin/nft",
        "ssh",
        "ssh-keygen",
        "unshare",
        "setpriv",
    ):
        if shutil.which(program) is None:
            return f"{program} is not installed: make test installs what machines take"
    own = f"import sys, venv; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    if not _succeeds("/usr/bin/env", "/usr/bin/python3", "-c", own):
        return "the system has no Python of this version that makes environments (python3-venv)"
    if not _succeeds("unshare", "-m", "sh", "-c", OVERLAY):
        return "an overlay of / cannot be mounted here"
    return None


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@dataclass
class Booted:
    """A machine that runs."""

    port: int
    """Of its SSH server, at 127.0.0.1."""
    key: Path
    home: Path
    """To be HOME of programs that use SSH: its known_hosts are of use to nobody else."""

    def send(self, directory: Path, place: str) -> None:
        """Copies a directory there, for root alone."""
        packed = subprocess.run(["tar", "-C", str(directory), "-c", "."], capture_output=True, check=True)
        command = self._ssh(f"umask 077 && mkdir {place} && tar -C {place} -xo")
        subprocess.run(command, input=packed.stdout, check=True, timeout=60)

    def _ssh(self, *words: str) -> list[str]:
        options = ["-i", str(self.key), "-p", str(self.port), "-o", "StrictHostKeyChecking=no"]
        options += ["-o", f"UserKnownHostsFile={self.home}/known", "-o", "LogLevel=ERROR"]
        return ["ssh", *options, "root@127.0.0.1", *words]

    def is_known(self, known: bool = True) -> None:
        """Programs with our HOME know its key, or know none."""
        line = f"[127.0.0.1]:{self.port} {self.key.with_name('host_key.pub').read_text()}" if known else ""
        (self.home / ".ssh/known_hosts").write_text(line)

    def run(self, *words: str, check: bool = True) -> str:
        """What a command there, run by root, writes to standard output."""
        done = subprocess.run(self._ssh(*words), capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done.stdout


def _seed(directory: Path, files: dict[str, str], key: Path, port: int) -> None:
    """What the machine has and we have not."""
    units = directory / "etc/systemd/system"
    trial = directory / "etc/trial"
    for one in (units, trial):
        one.mkdir(parents=True)
    for one in MASKED:
        (units / one).symlink_to("/dev/null")
    (units / "trial-sshd.service").write_text(SSHD_UNIT)
    (units / "trial.target").write_text(TARGET)
    (trial / "sshd_config").write_text(SSHD.format(port=port))
    shutil.copy(key.with_suffix(".pub"), trial / "authorized_keys")
    for name in ("host_key", "host_key.pub"):
        shutil.copy(key.with_name(name), trial / name)
    (directory / "root").mkdir(mode=0o700)
    packages = directory / PACKAGES.lstrip("/")
    packages.mkdir(parents=True)
    for one in Path(sysconfig.get_path("purelib")).iterdir():
        if "mvsqlite" not in one.name.lower():
            (packages / one.name).symlink_to(f"{INSTALLED}/{one.name}")
    for path, text in {PYTHON: WITH_PACKAGES, **files}.items():
        place = directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755 if text.startswith("#!") else 0o644)


def _keys(directory: Path) -> Path:
    for name in ("key", "host_key"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
        subprocess.run(command, check=True)
    return directory / "key"


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        connection.settimeout(1)
        return connection.recv(4) == b"SSH-"
    return False


@contextmanager
def booted(directory: Path, files: dict[str, str]) -> Iterator[Booted]:
    """Boots a machine for as long as the block runs; files: more that it has, by path."""
    key, (port,) = _keys(directory), free_ports(1)
    seed, mounts, home = (directory / name for name in ("seed", "mounts", "home"))
    for one in (seed, mounts, home / ".ssh"):
        one.mkdir(parents=True)
    _seed(seed, files, key, port)
    log = directory / "boot.log"
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "-m", "sh", "-c", BOOT, "boot"]
    command += [str(mounts), str(seed), f"trial-{os.getpid()}", sysconfig.get_path("purelib")]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        while not _answers(port):
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            pause.wait(0.05)
        machine = Booted(port, key, home)
        machine.is_known()
        yield machine
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
