"""Doing what was decided: what is sent to a host, and the scripts that its shell runs there as root.

No secret is on a command line or in a script: they travel in the parcel, whose members have numbers for
names. Each file is put in its place whole, by renaming. What can fail is done before anything that runs is
touched: packages, the environment, and whether the gateway understands its file.
"""

import io
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field

from mvsqlite_stack.apply.decide import Change, Decision, unit_of
from mvsqlite_stack.apply.found import USERS
from mvsqlite_stack.apply.wanted import Wanted
from mvsqlite_stack.render.users import GATEWAY

PARCEL = "parcel.tar"
OLD_KEPT = 2
"""Environments that stay on a host: the one in use, and the one before it."""
START_SECONDS = 30
RESTARTS_MOST = 2
"""Tries that a unit has to begin well; systemd goes on trying."""
JOURNAL_LINES = 20
FAILED = "mvstack-failed "
"""What a script says, before the names of units that do not run."""

_HEAD = """\
set -eu
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
umask 022
fail() { printf '%s\\n' "$*" >&2; exit 1; }
exec 9>/run/mvstack-apply.lock
flock -n 9 || fail "another apply is at work on this host: wait for it, then look at the plan again"
put() {
  t="$(dirname "$4")/.$(basename "$4").mvstack"
  mkdir -p "$(dirname "$4")"
  install -m "$1" -o "${2%:*}" -g "${2#*:}" "$3" "$t"
  sync "$t"
  mv -f "$t" "$4"
}
"""


@dataclass
class Parcel:
    """What goes to a host in one piece."""

    members: list[bytes] = field(default_factory=list, repr=False)

    def add(self, data: bytes) -> str:
        """Where it lies below the staging directory."""
        self.members.append(data)
        return f"parcel/{len(self.members) - 1}"

    def packed(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for number, data in enumerate(self.members):
                info = tarfile.TarInfo(f"parcel/{number}")
                info.size, info.mode = len(data), 0o600
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()


def prepare(wanted: Wanted, decision: Decision, parcel: Parcel) -> str:
    """The first script: everything that changes nothing that runs. It is run in the staging directory."""
    lines = [_HEAD, f"tar -xof {PARCEL}", f"rm -f {PARCEL}"]
    lines += [*_packages(decision), *_users(wanted, decision, parcel), *_directories(wanted, decision)]
    lines += [*_program(wanted, decision, parcel), *_certificate(wanted, decision)]
    lines += _nginx(wanted, decision, parcel)
    return "\n".join(lines) + "\n"


def _packages(decision: Decision) -> Iterator[str]:
    names = [one.name for one in decision.of("package")]
    if not names:
        return
    own = "nginx-light" in names
    if own:  # Debian starts a server of its own with it
        yield "systemctl mask --runtime -q nginx.service"
    install = f"apt-get install -q -y --no-install-recommends {_words(names)}"
    with_lists = f"{{ apt-get update -q && {install}; }}"
    yield f'{{ {install} || {with_lists}; }} >apt.log 2>&1 || fail "$(tail -n 5 apt.log)"'
    if own:
        yield "systemctl disable -q nginx.service || :"
        yield "systemctl unmask --runtime -q nginx.service"


def _users(wanted: Wanted, decision: Decision, parcel: Parcel) -> Iterator[str]:
    if decision.of("user"):
        text = wanted.files[f"{wanted.host}/sysusers/mvstack.conf"].text
        yield f"mv {parcel.add(text.encode())} sysusers.conf"
        yield 'systemd-sysusers "$PWD/sysusers.conf"'


def _directories(wanted: Wanted, decision: Decision) -> Iterator[str]:
    known = {one.path: one for one in wanted.directories}
    for change in decision.of("directory"):
        one = known[change.name]
        owner, _, group = one.owner.partition(":")
        yield f"install -d -m {one.mode:o} -o {owner} -g {group} {shlex.quote(one.path)}"


def _program(wanted: Wanted, decision: Decision, parcel: Parcel) -> Iterator[str]:
    """A new environment beside the one in use, which a link leads to once it is whole."""
    if not decision.of("program") or wanted.wheel is None:
        return
    home, wheel = wanted.layout.home, wanted.wheel
    new = f"{home}-{wheel.digest}"
    python = f"{shlex.quote(wanted.python)} -I"
    yield f"mv {parcel.add(wheel.make())} {shlex.quote(wheel.name)}"
    yield f"rm -rf {new}"
    yield f'{python} -m venv {new} >venv.log 2>&1 || fail "$(tail -n 5 venv.log)"'
    pip = f"{new}/bin/python -m pip install -q --disable-pip-version-check --no-cache-dir"
    yield f'{pip} {shlex.quote(f"./{wheel.name}[stack]")} >pip.log 2>&1 || fail "$(tail -n 5 pip.log)"'
    look = "import mvsqlite_stack.signin.service"
    yield f"(cd / && {new}/bin/python -c '{look}') 2>program.log || fail \"$(tail -n 5 program.log)\""


def _certificate(wanted: Wanted, decision: Decision) -> Iterator[str]:
    if decision.of("certificate") and wanted.certificate and wanted.wheel:
        python = f"{wanted.layout.home}-{wanted.wheel.digest}/bin/python"
        names = _words(wanted.stand_in_for)
        paths = _words(wanted.certificate)
        yield f"{python} -I -m mvsqlite_stack.apply.stand_in {paths} {GATEWAY} {names}"


def _nginx(wanted: Wanted, decision: Decision, parcel: Parcel) -> Iterator[str]:
    """A file that nginx does not understand never takes the place of one that it does."""
    place = f"{wanted.layout.settings}/nginx/nginx.conf"
    text = wanted.text_at(place)
    if text is None or not any(one.name in (place, "mvstack-nginx.service") for one in decision.changes):
        return
    bind = "--inh-caps=+net_bind_service --ambient-caps=+net_bind_service"
    as_gateway = f"setpriv --reuid={GATEWAY} --regid={GATEWAY} --clear-groups"
    for path in wanted.certificate or ():
        remedy = f"chgrp {GATEWAY} {path}; chmod 640 {path}; and let it enter the directories above"
        yield f"{as_gateway} test -r {path} || fail 'the gateway cannot read {path}: {remedy}'"
    yield "trial=$(mktemp -d)"
    yield "trap 'rm -rf \"$trial\"' EXIT"
    yield f'install -m 0644 {parcel.add(text.encode())} "$trial/nginx.conf"'
    yield f'chown -R {GATEWAY}: "$trial"'
    yield (
        f'{as_gateway} {bind} /usr/sbin/nginx -t -q -p "$trial" -e stderr -c "$trial/nginx.conf" '
        '2>nginx.log || fail "$(grep -F "[emerg]" nginx.log || cat nginx.log)"'
    )


def install(wanted: Wanted, decision: Decision, parcel: Parcel) -> str:
    """The second script: puts files in their places, and has units run that shall."""
    lines = [_HEAD]
    for change in decision.of("unit", "stop"):
        lines.append(f"systemctl disable -q --now {change.name} || systemctl stop -q {change.name}")
        lines.append(f"systemctl reset-failed -q {change.name} 2>/dev/null || :")
        lines.append(f"rm -f {wanted.layout.settings}/applied/{change.name}")
    if decision.of("program") and wanted.wheel:
        lines += _switch(wanted.layout.home, wanted.wheel.digest)
    lines += [*_private(wanted, decision, parcel), *_files(wanted, decision, parcel)]
    if any(one.step and unit_of(one.step.path) for one in decision.of("file")):
        lines.append("systemctl daemon-reload")
    names = [one.name for one in decision.of("unit", "enable")]
    if names:
        lines.append(f"systemctl enable -q {_words(names)} 2>/dev/null")
    for change in decision.of("unit", "start", "restart", "reload"):
        lines += _run(wanted, change)
    if decision.of("certificate"):
        lines.append("systemctl start --no-block mvstack-certificate.service")
    return "\n".join(lines) + "\n"


def _switch(home: str, digest: str) -> Iterator[str]:
    new = f"{home}-{digest}"
    yield f"if [ -d {home} ] && [ ! -L {home} ]; then mv {home} {home}-before; fi"
    yield f"ln -sfn {new} {home}.mvstack && mv -T {home}.mvstack {home}"
    yield f"ls -1dt {home}-* | grep -vxF {new} | tail -n +{OLD_KEPT} | xargs -r rm -rf"


def _private(wanted: Wanted, decision: Decision, parcel: Parcel) -> Iterator[str]:
    for change in decision.of("secret", "add", "change"):
        one = wanted.private[change.name]
        staged = parcel.add(one.data)
        directory = shlex.quote(change.name.rpartition("/")[0])
        yield f"[ -d {directory} ] || install -d -m 0700 {directory}"
        yield f"put {one.mode:04o} {one.owner} {staged} {shlex.quote(change.name)}"
    for change in decision.of("secret", "remove"):
        yield f"rm -f {shlex.quote(change.name)}"


def _files(wanted: Wanted, decision: Decision, parcel: Parcel) -> Iterator[str]:
    for change in decision.of("file"):
        place = shlex.quote(change.name)
        if change.action == "remove":
            yield f"rm -f {place}"
            if change.name.startswith(f"{wanted.layout.settings}/"):
                yield f'rmdir --ignore-fail-on-non-empty "$(dirname {place})"'
        elif change.step:
            file = wanted.files[change.step.path]
            yield f"put {file.mode:04o} {file.owner} {parcel.add(file.text.encode())} {place}"


def _run(wanted: Wanted, change: Change) -> Iterator[str]:
    """What it was started with is noted when it was: an apply that breaks off starts it again next time."""
    unit = wanted.units[change.name]
    verb = "reload" if change.action == "reload" else "restart"
    yield f"systemctl reset-failed -q {unit.name} 2>/dev/null || :"
    note = f"printf '%s\\n' '{unit.own} {unit.inputs}' >{wanted.layout.settings}/applied/{unit.name}"
    yield f"if systemctl {verb} {unit.name} 2>>start.log; then {note}; fi"


def look(wanted: Wanted, decision: Decision) -> str:
    """The third script: waits until units run, and tells the journals of those that do not."""
    names = _words(wanted.units)
    tries = START_SECONDS * 2
    # Who ends at once is seen a moment later only.
    pause = "sleep 1" if decision.of("unit") else ":"
    return f"""\
for u in {names}; do
  n=0
  until systemctl is-active -q $u || systemctl is-failed -q $u || [ $n -ge {tries} ]; do
    [ "$(systemctl show --value -p NRestarts $u)" -lt {RESTARTS_MOST} ] || break
    n=$((n + 1)); sleep 0.5
  done
done
{pause}
bad=
for u in {names}; do systemctl is-active -q $u || bad="$bad $u"; done
[ -z "$bad" ] && exit 0
echo "{FAILED}$bad"
{journal("$bad")}
exit 1
"""


def journal(units: str) -> str:
    """Tells what units, with spaces between them, said last."""
    return (
        f'for u in {units}; do echo "$u:"; '
        f"journalctl -q -u $u -n {JOURNAL_LINES} --no-pager -o cat 2>/dev/null; done"
    )


def answer(wanted: Wanted, address: str, port: int, host: str) -> str:
    """Asks for a page at the gateway, on its host, until it comes."""
    return (
        f"cd / && {wanted.layout.programs}/python -I -m mvsqlite_stack.apply.answer "
        f"{address} {port} {host} {START_SECONDS}"
    )


def sync(wanted: Wanted) -> str:
    """Makes the declared users accounts."""
    settings = f"{wanted.layout.settings}/signin/signin.toml"
    return f"cd / && {wanted.layout.programs}/python -I -m {USERS} sync --json --settings {settings}"


def _words(words: object) -> str:
    return " ".join(map(shlex.quote, words))  # type: ignore[call-overload]
