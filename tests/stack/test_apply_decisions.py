"""What is to be done on a host, decided from what is wanted and what is there: no host is needed."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from household import declare
from mvsqlite_stack import config, render
from mvsqlite_stack.apply import found as looking
from mvsqlite_stack.apply import perform
from mvsqlite_stack.apply.decide import Change, Checks, Decision, decide
from mvsqlite_stack.apply.found import Found, Holder, Present, State
from mvsqlite_stack.apply.wanted import Wanted, nothing, of_host
from mvsqlite_stack.apply.wheel import Wheel, of_this_installation
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.secrets import Secrets

WHEEL = Wheel("mvsqlite_py-0.1.0-cp311-abi3-linux_x86_64.whl", "0123456789ab", lambda: b"wheel")
APP = """
command = ["/usr/bin/notes"]
secrets = ["SESSION_SECRET"]
data = ["/srv/notes"]
"""
Make = Callable[..., Wanted]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    declare(tmp_path, "nginx")
    path = tmp_path / "stack.toml"
    path.write_text(path.read_text().replace("[apps.notes]\n", f"[apps.notes]{APP}"))
    return path


@pytest.fixture
def make(file: Path) -> Make:
    """What is wanted of the host; changes: of the declaration's text."""

    def one(*changes: tuple[str, str], host: str = "home") -> Wanted:
        text = file.read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        other = file.with_name("other.toml")
        other.write_text(text)
        stack, secrets = config.read(other), Secrets(file.parent / "secrets")
        secrets.create(stack)
        rendered = render.files(stack, secrets.public_keys(), "stack.toml")
        return of_host(stack, host, rendered, secrets, WHEEL)

    return one


def as_wanted(wanted: Wanted) -> Found:
    """A host on which everything is so already."""
    return Found(
        is_root=True,
        systemd=True,
        apt=True,
        machine="x86_64",
        python=(3, 11),
        packages={*wanted.packages},
        users={*wanted.users},
        files={
            wanted.layout.place(path): Present(one.mode, one.owner, one.text)
            for path, one in wanted.files.items()
        },
        private={
            place: Present(one.mode, one.owner, digest=one.digest) for place, one in wanted.private.items()
        },
        directories={one.path: Present(one.mode, one.owner) for one in wanted.directories},
        units={name: State(True, True, one.own, one.inputs) for name, one in wanted.units.items()},
        program=WHEEL.digest,
        certificate={*(wanted.certificate or ())},
        accounts={"add": [], "change": []},
    )


def said(decision: Decision) -> list[tuple[str, str, str]]:
    return [(one.kind, one.name.rpartition("/")[2], one.action) for one in decision.changes]


def test_on_a_new_host_everything_is_to_be_done(make: Make) -> None:
    decision = decide(make(), Found())
    assert {one.action for one in decision.changes} == {"add", "enable", "start"}
    names = [one.name for one in decision.of("unit", "start")]
    assert names[0] == "mvstack-signin.service"
    assert names.index("mvstack-app-notes.service") < names.index("mvstack-nginx.service")
    assert [one.name for one in decision.of("account")] == ["anna", "ben"]
    users = [one.name.removeprefix("mvstack") for one in decision.of("user")]
    assert users == ["", "-app-notes", "-gateway", "-status"]
    assert "nginx-light" in [one.name for one in decision.of("package")]


def test_where_everything_is_so_nothing_is_done(make: Make) -> None:
    wanted = make()
    assert decide(wanted, as_wanted(wanted)).changes == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('public_paths = ["/share/*", "/about"]', 'public_paths = ["/about"]', [("nginx.service", "reload")]),
        ('["/usr/bin/notes"]', '["/usr/bin/notes", "-v"]', [("app-notes.service", "restart")]),
        ('name = "Anna Ärmel"', 'name = "Anna"', []),
        ('groups = ["family"]', 'groups = ["friends"]', [("signin.service", "restart")]),
    ],
    ids=["a public path", "an app's command", "a shown name", "a group"],
)
def test_only_units_whose_inputs_changed_are_touched(
    make: Make, old: str, new: str, expected: list[tuple[str, str]]
) -> None:
    decision = decide(make((old, new)), as_wanted(make()))
    assert [(one.name.removeprefix("mvstack-"), one.action) for one in decision.of("unit")] == expected
    assert decision.of("file", "change")


def test_a_break_between_files_and_units_is_made_good(make: Make) -> None:
    wanted = make()
    found = as_wanted(wanted)
    found.units["mvstack-nginx.service"] = replace(found.units["mvstack-nginx.service"], inputs="older")
    found.units["mvstack-signin.service"] = replace(found.units["mvstack-signin.service"], active=False)
    assert said(decide(wanted, found)) == [
        ("unit", "mvstack-signin.service", "start"),
        ("unit", "mvstack-nginx.service", "reload"),
    ]


def test_new_programs_restart_what_runs_them(make: Make) -> None:
    wanted, found = replace(make(), wheel=replace(WHEEL, digest="newer")), as_wanted(make())
    assert said(decide(wanted, found)) == [
        ("program", "mvstack", "change"),
        ("unit", "mvstack-signin.service", "restart"),
        ("unit", "mvstack-status.service", "restart"),
    ]


def test_a_rotated_secret_goes_there_and_its_app_starts_anew(make: Make) -> None:
    found, wanted = as_wanted(make()), make()
    place = "/etc/mvstack/secrets/apps/notes/SESSION_SECRET"
    wanted.private[place] = replace(wanted.private[place], data=b"another")
    assert said(decide(wanted, found)) == [
        ("secret", "SESSION_SECRET", "change"),
        ("unit", "mvstack-app-notes.service", "restart"),
    ]


def test_what_is_declared_no_longer_goes(make: Make) -> None:
    found = as_wanted(make())
    found.files["/etc/systemd/system/mvstack-own.service"] = Present(0o644, "root:root", "[Unit]\n")
    found.private["/var/lib/mvstack/signin/keys/old.pem"] = Present(0o600, "mvstack:mvstack", digest="x")
    decision = decide(make((f"command{APP.partition('command')[2]}", "\n")), found)
    assert ("unit", "mvstack-app-notes.service", "stop") in said(decision)
    assert ("file", "mvstack-app-notes.service", "remove") in said(decision)
    assert ("secret", "SESSION_SECRET", "remove") in said(decision)
    assert ("secret", "old.pem", "remove") in said(decision)
    assert not [one for one in decision.changes if "mvstack-own" in one.name], "that file is not ours"


def test_a_file_in_the_way_is_left(make: Make) -> None:
    wanted = make()
    found = as_wanted(wanted)
    found.files["/etc/mvstack/nginx/nginx.conf"] = Present(0o644, "root:root", "mine")
    with pytest.raises(StackError, match="was not generated by mvstack"):
        decide(wanted, found)


def test_rights_are_set_right(make: Make) -> None:
    wanted = make()
    found = as_wanted(wanted)
    keys = "/var/lib/mvstack/signin/keys"
    found.directories[keys] = Present(0o755, "mvstack:mvstack")
    signing = found.private[f"{keys}/signing"]
    found.private[f"{keys}/signing"] = replace(signing, owner="root:root")
    found.directories["/srv/notes"] = Present(0o777, "somebody:users")
    assert said(decide(wanted, found)) == [("directory", "keys", "change"), ("secret", "signing", "change")]


def test_a_host_gets_its_own_secrets_and_no_others(make: Make) -> None:
    two = ("[hosts.home]\n", '[hosts.attic]\naddress = "attic"\n[hosts.home]\n')
    moved = ('[apps.feeds]\non = "home"', f'[apps.feeds]{APP.replace("SESSION", "FEED")}on = "attic"')
    attic, home = make(two, moved, host="attic"), make(two, moved)
    assert [*attic.private] == ["/etc/mvstack/secrets/apps/feeds/FEED_SECRET"]
    assert not [place for place in home.private if "feeds" in place]
    assert {one.mode for one in [*attic.private.values(), *home.private.values()]} == {0o600}
    assert (attic.gateway, attic.accounts, attic.certificate) == (None, None, None)


def test_destroying_leaves_what_was_not_generated(make: Make) -> None:
    decision = decide(nothing("home"), as_wanted(make()))
    assert {(one.kind, one.action) for one in decision.changes} == {("file", "remove"), ("unit", "stop")}
    assert len(decision.of("file")) == len(make().files)


# ---- what stands in the way ----


def problems(file: Path, wanted: Wanted, found: Found) -> str:
    checks = Checks(file, file.read_text())
    return "\n".join(map(str, checks.problems(wanted, found)))


def test_a_good_host_has_no_problems(file: Path, make: Make) -> None:
    assert problems(file, make(), as_wanted(make())) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"systemd": False}, "systemd does not run there"),
        ({"apt": False, "packages": set()}, "has no apt-get"),
        ({"python": (3, 10), "program": ""}, "does not run with Python 3.10 on x86_64"),
        ({"machine": "aarch64", "program": ""}, "does not run with Python 3.11 on aarch64"),
        ({"certificate": set()}, "cert.pem on home. Put it there"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_changed(
    file: Path, make: Make, change: dict[str, object], expected: str
) -> None:
    found = as_wanted(make())
    for name, value in change.items():
        setattr(found, name, value)
    assert expected in problems(file, make(), found)


@pytest.mark.parametrize(
    ("address", "who", "expected"),
    [
        ("127.0.0.1", "apache2.service", "systemctl disable --now apache2.service"),
        ("*", "", "is held by another program"),
        ("127.0.0.1", "mvstack-nginx.service", ""),
        ("192.0.2.1", "apache2.service", ""),
    ],
)
def test_ports_that_others_hold(file: Path, make: Make, address: str, who: str, expected: str) -> None:
    wanted = make()
    found = as_wanted(wanted)
    port = next(one.port for one in wanted.listeners if one.key == ("ports", "https"))
    found.holders = [Holder(address, port, who)]
    told = problems(file, wanted, found)
    assert (expected in told) if expected else told == ""
    assert not told or f"{file}:" in told, "it names the line"


def test_another_secret_of_the_service_is_not_overwritten_unasked(file: Path, make: Make) -> None:
    wanted = make()
    found = as_wanted(wanted)
    place = "/var/lib/mvstack/signin/keys/service.secret"
    found.private[place] = replace(found.private[place], digest="another")
    assert "--replace-service-secret" in problems(file, wanted, found)
    asked = Checks(file, "", replace_service_secret=True)
    assert asked.problems(wanted, found) == []


# ---- what is sent and run ----


def scripts(wanted: Wanted, decision: Decision) -> tuple[str, perform.Parcel]:
    parcel = perform.Parcel()
    first = perform.prepare(wanted, decision, parcel)
    return first + perform.install(wanted, decision, parcel), parcel


def test_secrets_are_in_the_parcel_and_nowhere_else(make: Make) -> None:
    wanted = make()
    decision = decide(wanted, Found())
    text, parcel = scripts(wanted, decision)
    everything = text + looking.script(wanted) + repr((wanted, decision, parcel))
    for place, one in wanted.private.items():
        assert one.data in parcel.members
        if place.endswith("/signing"):
            continue  # the name of a key
        assert one.data.decode(errors="replace") not in everything
        assert one.data.hex() not in everything
    with tarfile.open(fileobj=io.BytesIO(parcel.packed())) as tar:
        assert {(member.mode, member.name.partition("/")[0]) for member in tar} == {(0o600, "parcel")}


def test_the_gateways_file_is_tried_before_it_is_put_in_place(make: Make) -> None:
    wanted = make()
    text, _ = scripts(wanted, decide(wanted, Found()))
    assert text.index("nginx -t") < text.index("/etc/mvstack/nginx/nginx.conf")
    untouched, _ = scripts(wanted, Decision("home", (Change("account", "anna", "add"),), 0))
    assert "nginx" not in untouched


def test_debians_own_server_is_kept_from_starting(make: Make) -> None:
    wanted = make()
    text, _ = scripts(wanted, Decision("home", (Change("package", "nginx-light", "add"),), 0))
    masked, installed = text.index("mask --runtime -q nginx"), text.index("apt-get install")
    assert masked < installed < text.index("disable -q nginx") < text.index("unmask")


def test_what_a_host_tells_is_understood(make: Make) -> None:
    wanted = make()
    lines = [
        "uid 0",
        "systemd yes",
        "machine x86_64",
        "python 3 11",
        "package libzstd1",
        "user mvstack",
        "file 644 root:root IyBHZW5lcmF0ZWQ= /etc/systemd/system/mvstack-x.service",
        "secret 600 mvstack:mvstack abc /var/lib/mvstack/signin/keys/signing",
        "directory 755 root:root /etc/mvstack",
        "unit mvstack-signin.service active enabled 12 34",
        "unit mvstack-nginx.service inactive not-found ",
        "program mvstack-0123456789ab",
        "port 0.0.0.0:80 nginx.service",
        "port [::1]:8400 ",
        "certificate /x/cert.pem",
        'accounts {"add": ["anna"], "change": []}',
        "something else",
    ]
    found = looking.parse(lines)
    assert (found.is_root, found.systemd, found.python, found.program) == (
        True,
        True,
        (3, 11),
        "0123456789ab",
    )
    assert found.files["/etc/systemd/system/mvstack-x.service"].text == "# Generated"
    assert found.private["/var/lib/mvstack/signin/keys/signing"] == Present(
        0o600, "mvstack:mvstack", digest="abc"
    )
    assert found.units == {
        "mvstack-signin.service": State(True, True, "12", "34"),
        "mvstack-nginx.service": State(False, False),
    }
    assert found.holders == [Holder("0.0.0.0", 80, "nginx.service"), Holder("::1", 8400, "")]
    assert found.accounts == {"add": ["anna"], "change": []}
    assert decide(wanted, found).of("account") == [Change("account", "anna", "add")]


def test_the_wheel_is_made_of_what_runs_here_and_always_the_same() -> None:
    one = of_this_installation()
    assert one == of_this_installation()
    assert one.make() == of_this_installation().make()
    assert one.fits((3, 12), one.name.partition("linux_")[2].removesuffix(".whl"))
    assert not one.fits((3, 10), "x86_64")
    assert not one.fits((3, 11), "riscv64")
