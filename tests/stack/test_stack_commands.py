"""``mvstack init``, ``render``, ``plan`` and ``secrets``."""

import json
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from household import certificate
from mvsqlite_stack import render
from mvsqlite_stack.cli import main
from mvsqlite_stack.signin.settings import read

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a directory of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(main, words, input=stdin, prog_name="mvstack")

    return call


@pytest.fixture
def begun(run: Run) -> Run:
    assert run("init", "--domain", "example.org", "--yes").exit_code == 0
    return run


def tree(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(directory)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_init_writes_a_file_with_comments_that_validates(run: Run, tmp_path: Path) -> None:
    result = run("init", "--domain", "example.org", "--yes")
    assert result.exit_code == 0, result.output
    text = (tmp_path / "stack.toml").read_text()
    assert tomllib.loads(text)["stack"]["domain"] == "example.org"
    assert text.count("#") > 15
    assert "@" not in re.sub(r'"@family"|you@', "", text), "every place is filled in"
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert run("render", "out").exit_code == 0


def test_init_asks(run: Run, tmp_path: Path) -> None:
    result = run("init", stdin="home.example.net\nnginx\nanna\nanna@example.net\n")
    assert result.exit_code == 0, result.output
    declared = tomllib.loads((tmp_path / "stack.toml").read_text())
    assert declared["stack"] == {"domain": "home.example.net", "title": "Home", "gateway": "nginx"}
    assert declared["tls"] == {"acme": "anna@example.net"}
    assert list(declared["users"]) == ["anna"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--domain", "co.uk"), "public suffix"),
        (("--domain", 'x"y.org'), "not a host name"),
        (("--domain", "example.org", "--user", "Bob X"), "not a user's name"),
        (("--domain", "example.org", "--acme", "nobody"), "not allowed"),
        ((), "--yes needs --domain"),
    ],
)
def test_init_writes_nothing_that_does_not_validate(
    run: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    result = run("init", "--yes", *words)
    assert result.exit_code != 0
    assert said in result.output
    assert list(tmp_path.iterdir()) == []


def test_init_takes_nothing_away(begun: Run, tmp_path: Path) -> None:
    before = tree(tmp_path)
    result = begun("init", "--domain", "example.net", "--yes")
    assert result.exit_code == 1
    assert "exists already" in result.output
    assert tree(tmp_path) == before


@pytest.mark.parametrize("gateway", ["kong", "nginx"])
def test_render_is_reproducible_and_touches_nothing_else(run: Run, tmp_path: Path, gateway: str) -> None:
    run("init", "--domain", "example.org", "--gateway", gateway, "--acme", "a@example.org", "--yes")
    before = tree(tmp_path)
    assert run("render", "one").exit_code == 0
    assert run("render", "two").exit_code == 0
    after = tree(tmp_path)
    one = {name[4:]: value[0] for name, value in after.items() if name.startswith("one/")}
    assert one == {name[4:]: value[0] for name, value in after.items() if name.startswith("two/")}
    assert before.items() <= after.items()
    assert f"home/systemd/mvstack-{gateway}.service" in one
    assert "home/systemd/mvstack-certificate.timer" in one
    for data in one.values():
        assert data.decode().startswith(f"{render.MARK}stack.toml: change that, not this file.\n")
        assert b"PRIVATE KEY" not in data


def test_rendering_again_writes_nothing(begun: Run, tmp_path: Path) -> None:
    begun("render", "out")
    before = tree(tmp_path)
    result = begun("render", "out")
    assert tree(tmp_path) == before
    assert "added" not in result.output


def test_what_is_no_longer_declared_goes_and_what_is_not_ours_stays(begun: Run, tmp_path: Path) -> None:
    begun("render", "out")
    (tmp_path / "out/notes.txt").write_text("mine\n")
    (tmp_path / "stack.toml").write_text(
        (tmp_path / "stack.toml").read_text().replace('gateway = "kong"', 'gateway = "nginx"')
    )
    result = begun("plan", "--against", "out", "--exit-code")
    assert result.exit_code == 1
    begun("render", "out")
    assert (tmp_path / "out/notes.txt").read_text() == "mine\n"
    assert not (tmp_path / "out/home/kong/kong.yml").exists()
    assert (tmp_path / "out/home/nginx/nginx.conf").exists()
    assert begun("plan", "--against", "out", "--exit-code").exit_code == 0


def test_a_file_in_the_way_is_not_overwritten(begun: Run, tmp_path: Path) -> None:
    place = tmp_path / "out/home/kong/kong.yml"
    place.parent.mkdir(parents=True)
    place.write_text("mine\n")
    result = begun("render", "out")
    assert result.exit_code == 1
    assert "was not generated by mvstack" in result.output
    assert [path for path in tmp_path.glob("out/**/*") if path.is_file()] == [place]


def test_without_secrets_nothing_is_made(begun: Run, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "secrets")
    result = begun("render", "out")
    assert result.exit_code == 1
    assert "mvstack secrets create" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["stack.toml"]


def test_plan_tells_the_difference(begun: Run, tmp_path: Path) -> None:
    assert "to be added" in begun("plan", "--against", "out").output
    begun("render", "out")
    assert begun("plan", "--against", "out").output == "Everything is as declared.\n"
    file = tmp_path / "stack.toml"
    file.write_text(file.read_text().replace("upload_megabytes = 200", "upload_megabytes = 300"))
    before = tree(tmp_path)
    said = begun("plan", "--against", "out").output
    assert "-        allowed_payload_size: 200" in said
    assert "+        allowed_payload_size: 300" in said
    assert "2 to be changed" in said
    assert tree(tmp_path) == before
    steps = json.loads(begun("plan", "--against", "out", "--json").output)
    assert {step["path"] for step in steps if step["action"] == "change"} == {
        "home/kong/kong.yml",
        "home/kong/kong.conf",
    }


def test_plan_knows_which_hosts_there_are(begun: Run, tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(file.read_text() + '\n[hosts.attic]\naddress = "attic"\n')
    assert "Use one of: home, attic" in begun("plan", "--host", "cellar").output


def test_the_gateway_learns_a_new_key(begun: Run, tmp_path: Path) -> None:
    begun("render", "out")
    assert "signs now" in begun("secrets", "rotate", "signing").output
    assert "rsa_public_key" in begun("plan", "--against", "out").output
    begun("render", "out")
    declared = yaml.safe_load((tmp_path / "out/home/kong/kong.yml").read_text())
    assert len(declared["consumers"][0]["jwt_secrets"]) == 3


def test_the_sign_in_service_takes_its_settings(begun: Run, tmp_path: Path) -> None:
    begun("render", "out")
    settings = read(tmp_path / "out/home/signin/signin.toml")
    assert settings.sign_in_host == "login.example.org"
    assert settings.apps["notes"].host == "notes.example.org"
    assert settings.apps["notes"].allow == ("*",)
    assert settings.groups == {"family": ("admin",)}


def test_units_are_understood_and_closed(begun: Run, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    file = tmp_path / "stack.toml"
    text = file.read_text().replace("# command = ", "command = ").replace("# secrets = ", "secrets = ")
    file.write_text(text.replace("# environment", "environment").replace('"/usr/bin/notes"', '"/bin/true"'))
    assert begun("render", "out").exit_code == 0
    unit = tmp_path / "out/home/systemd/mvstack-app-notes.service"
    assert "SESSION_SECRET_FILE=%d/SESSION_SECRET" in unit.read_text()
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, ""), said.stderr
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=30", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout[-2000:] + said.stderr


LONG = "a" * 63
MANY_APPS = "".join(
    f"""
[apps.{"n" * 30}{number:02}]
on = "home"
port = {9000 + number}
allow = ["*"]
public_paths = ["/{"p" * 200}/*", "/", "/a.b+c/*"]
""".replace("+", "-")
    for number in range(40)
)


@pytest.mark.parametrize(
    ("domain", "more"),
    [("example.org", ""), (f"{LONG}.{LONG}.{LONG}.org", MANY_APPS)],
    ids=["usual", "long and many"],
)
def test_nginx_understands_its_file(run: Run, tmp_path: Path, domain: str, more: str) -> None:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip("nginx is not installed: make test installs it")
    run("init", "--domain", domain, "--gateway", "nginx", "--acme", "a@example.org", "--yes")
    certificate(tmp_path)
    file = tmp_path / "stack.toml"
    tls = f'[tls]\ncertificate = "{tmp_path / "cert.pem"}"\nkey = "{tmp_path / "key.pem"}"'
    ports = "[ports]\nhttp = 18080\nhttps = 18443\n"
    file.write_text(file.read_text().replace("[tls]", tls) + ports + more)
    result = run("render", "out")
    assert result.exit_code == 0, result.output
    command = [
        program,
        "-t",
        "-q",
        "-p",
        str(tmp_path),
        "-e",
        "stderr",
        "-c",
        str(tmp_path / "out/home/nginx/nginx.conf"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, [line for line in said.stderr.splitlines() if "[emerg]" in line]) == (0, [])


def test_secrets_are_listed_without_values(begun: Run, tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(file.read_text().replace("# secrets", "secrets"))
    assert "missing" in begun("secrets", "list").output
    assert "made    apps/notes/SESSION_SECRET" in begun("secrets", "create").output
    value = (tmp_path / "secrets/apps/notes/SESSION_SECRET").read_text()
    listed = begun("secrets", "list").output
    assert "missing" not in listed
    assert value not in listed
    assert begun("secrets", "show", "apps/notes/SESSION_SECRET").output.strip() == value
    begun("secrets", "rotate", "apps/notes/SESSION_SECRET")
    assert (tmp_path / "secrets/apps/notes/SESSION_SECRET").read_text() != value


def test_private_keys_are_never_shown(begun: Run) -> None:
    shown = begun("secrets", "show", "signing").output
    assert shown.count("BEGIN PUBLIC KEY") == 2
    assert "PRIVATE" not in shown


def test_backup_and_restore(begun: Run, tmp_path: Path) -> None:
    (tmp_path / "phrase").write_text("a long passphrase\n")
    shown = begun("secrets", "show", "signing").output
    assert "nobody to ask" in begun("secrets", "backup", "b").output
    assert begun("secrets", "backup", "b", "--passphrase-file", "phrase").exit_code == 0
    shutil.rmtree(tmp_path / "secrets")
    assert begun("secrets", "restore", "b", "--passphrase-file", "phrase").exit_code == 0
    assert begun("secrets", "show", "signing").output == shown


def test_an_unknown_secret(begun: Run) -> None:
    result = begun("secrets", "show", "nothing")
    assert result.exit_code == 1
    assert "There are: signing, " in result.output


def test_without_its_libraries_it_says_where_they_are() -> None:
    code = "import sys; sys.modules['pydantic'] = None; from mvsqlite_stack.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "mvstack: pydantic is not installed: pip install 'mvsqlite-py[stack]'\n"
