"""What an app's table may say, and the units and containers that come of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from mvsqlite_stack import config, render
from mvsqlite_stack.app_secrets import files as secret_files
from mvsqlite_stack.apps import library
from mvsqlite_stack.errors import Problem, StackError
from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.containers import NEEDED
from mvsqlite_stack.render.layout import SYSTEM, Layout
from mvsqlite_stack.secrets import Secrets

TOP = """\
[stack]
domain = "example.org"
[hosts.home]
gateway = true
[hosts.attic]
address = "10.0.0.2"
[users.anna]
[buckets.photos]
endpoint = "https://s3.example.net"
bucket = "our-photos"
region = "here"
"""
FEEDS = """\
[apps.feeds]
on = "home"
port = 7070
allow = ["anna"]
version = "v2.8"
program = "{state}/program/{version}/yarr"
install = ["/usr/bin/env", "GOBIN={state}/program/{version}", "go", "install", "example.org/yarr@{version}"]
command = ["{state}/program/{version}/yarr", "-addr", "{listen}:{port}", "-db", "{state}/feeds.db"]
environment = { PERCENT = "100%" }
secrets = ["SESSION", { name = "TOKEN", form = "base64:32", by = "variable" }]
database = { route = "preload", map = { "{state}/*.db" = "{stem}" } }
"""
PHOTOS = """\
[apps.photos]
on = "attic"
port = 8001
container_port = 8000
container_user = 33
allow = ["anna"]
version = "v7.7.4"
image = "ghcr.io/lycheeorg/lychee:{version}"
volumes = { "/data" = "data", "/media" = "/srv/media" }
capabilities = ["CHOWN", "SETUID"]
environment = { APP_URL = "{url}", LISTEN = "{listen}:{port}" }
secrets = [{ name = "APP_KEY", form = "laravel:32" }]
[apps.photos.database]
route = "preload"
map = { "/data/lychee.sqlite" = "lychee", "/data/more/*.db" = "{stem}" }
[apps.photos.bucket]
name = "photos"
variables = { AWS_ENDPOINT = "endpoint", AWS_BUCKET = "bucket", AWS_ACCESS_KEY_ID = "access_key", \
AWS_SECRET_ACCESS_KEY = "secret_key" }
environment = { S3_ENABLED = "true" }
"""
NOTES = """\
[apps.notes]
on = "home"
port = 8080
allow = ["anna"]
image = "docker.io/triliumnext/trilium:v0.106.0"
volumes = { "/notes" = "notes" }
database = { route = "extension", map = { "/notes/document.db" = "notes" }, take_in = false }
"""
WIKI = """\
[apps.wiki]
on = "home"
port = 3000
allow = ["anna"]
database = { route = "server", dump = ["/usr/bin/pg_dump", "wiki"] }
"""


def read(directory: Path, *parts: str) -> Stack:
    file = directory / "stack.toml"
    file.write_text(TOP + "".join(parts))
    return config.read(file)


def rendered(directory: Path, *parts: str, layout: Layout = SYSTEM) -> dict[str, str]:
    stack = read(directory, *parts)
    secrets = Secrets(directory / "secrets")
    secrets.create(stack)
    return render.files(stack, secrets.public_keys(), "stack.toml", layout)


@pytest.mark.parametrize(
    ("url", "store"),
    [
        ("lmdb:/var/lib/mvstack/store", "lmdb:/var/lib/mvstack-app-feeds/store"),
        ("lmdb:/elsewhere?wait_ms=5", "lmdb:/var/lib/mvstack-app-feeds/store?wait_ms=5"),
        ("fdb:/etc/fdb.cluster", "fdb:/etc/fdb.cluster?prefix=app/feeds/"),
        (
            "fdb:/etc/fdb.cluster?wait_ms=5&prefix=home/",
            "fdb:/etc/fdb.cluster?wait_ms=5&prefix=home/app/feeds/",
        ),
    ],
)
def test_each_app_has_a_store_of_its_own(tmp_path: Path, url: str, store: str) -> None:
    assert read(tmp_path, FEEDS, f'[store]\nurl = "{url}"\n').store_of("feeds") == store


def problem(directory: Path, *parts: str) -> Problem:
    with pytest.raises(StackError) as caught:
        read(directory, *parts)
    (found,) = caught.value.problems
    return found


@pytest.mark.parametrize(
    ("table", "old", "new", "key", "what", "remedy"),
    [
        (NOTES, "[apps.notes]", '[apps.notes]\ncommand = ["/bin/true"]', "image", "command", "one of them"),
        (NOTES, ":v0.106.0", ":latest", "image", "every time", "Pin it"),
        (NOTES, ":v0.106.0", "", "image", "every time", "Pin it"),
        (NOTES, "docker.io/triliumnext/", "", "image", "full name", "docker.io/who/what:1.2"),
        (NOTES, ":v0.106.0", ":{version}", "version", "missing", "version ="),
        (NOTES, "{ route", '{ why = "x", raute', "database.raute", "no such key", "route"),
        (NOTES, '"extension"', '"fuse"', "database.route", "'fuse'", "'preload', 'extension'"),
        (NOTES, 'map = { "/notes/document.db" = "notes" }, ', "", "database.map", "missing", "which files"),
        (NOTES, '"extension"', '"server"', "database.map", "no files", "choose a route"),
        (NOTES, '"/notes/document.db"', '"{state}/x.db"', "database.map", "in the container", "seen there"),
        (NOTES, '"/notes/document.db"', '"notes/x.db"', "notes/x.db", "absolute path", "{state}"),
        (NOTES, '"/notes" = "notes"', '"/notes" = "store"', "volumes./notes", "databases", "another name"),
        (NOTES, '"/notes" = "notes"', '"/notes" = "../x"', "volumes./notes", "no directory", "from the root"),
        (NOTES, "volumes =", 'data = ["/srv/x"]\nvolumes =', "data", "volumes", "volumes ="),
        (FEEDS, "version =", 'volumes = { "/x" = "x" }\nversion =', "volumes", "only a container", "image"),
        (FEEDS, 'program = "{state}/program/{version}/yarr"\n', "", "program", "missing", "install makes"),
        (FEEDS, '"v2.8"', '"2.8; rm"', "version", "not a version", "as the tag"),
        (FEEDS, "100%", "{unknown}", "environment.PERCENT", "configuration files", "plain text"),
        (FEEDS, "base64:32", "base32:32", "secrets", "form of a secret", "hex:32, base64:32 or laravel"),
        (FEEDS, "base64:32", "hex:8", "secrets", "form of a secret", "16 to 99"),
        (FEEDS, "PERCENT", "SESSION", "secrets", "twice", "one place"),
        (FEEDS, "PERCENT", "SESSION_FILE", "secrets", "in environment too", "Remove it"),
        (PHOTOS, 'name = "photos"', 'name = "fotos"', "bucket.name", "no bucket 'fotos'", "photos"),
        (PHOTOS, '"v7.7.4"', '"latest"', "version", "every time", "Pin it"),
        (WIKI, '"server"', '"none"', "database.dump", "only a server", "server"),
        (PHOTOS, "S3_ENABLED", "AWS_BUCKET", "bucket", "twice", "one place"),
        (PHOTOS, '"endpoint"', '"address"', "bucket.variables.AWS_ENDPOINT", "'address'", "'endpoint'"),
    ],
)
def test_errors_name_key_and_remedy(
    tmp_path: Path, table: str, old: str, new: str, key: str, what: str, remedy: str
) -> None:
    assert old in table
    found = problem(tmp_path, table.replace(old, new, 1))
    assert key in found.key
    assert what in found.what
    assert remedy in found.remedy
    assert found.line
    assert found.line > TOP.count("\n")


def test_a_command_is_run_on_its_store(tmp_path: Path) -> None:
    files = rendered(tmp_path, FEEDS)
    unit = files["home/systemd/mvstack-app-feeds.service"]
    state = "/var/lib/mvstack-app-feeds"
    assert (
        f"ExecStart=/opt/mvstack/bin/mvsqlite run --store lmdb:{state}/store --map {state}/*.db={{stem}} "
        f"--import -- {state}/program/v2.8/yarr -addr 127.0.0.1:7070 -db {state}/feeds.db\n"
    ) in unit
    assert "Requires=mvstack-app-feeds-install.service\n" in unit
    assert 'Environment="PERCENT=100%%"\n' in unit
    assert "LoadCredential=SESSION:/etc/mvstack/secrets/apps/feeds/SESSION\n" in unit
    assert "EnvironmentFile=/etc/mvstack/secrets/apps/feeds/environment.list\n" in unit
    assert "TOKEN" not in unit
    made = files["home/systemd/mvstack-app-feeds-install.service"]
    assert f"ConditionPathExists=!{state}/program/v2.8/yarr\n" in made
    assert f"GOBIN={state}/program/v2.8 go install example.org/yarr@v2.8\n" in made
    assert "User=mvstack-app-feeds\n" in made
    assert "[Install]" not in made
    assert "Restart" not in made


def test_another_layout_is_another_place(tmp_path: Path) -> None:
    unit = rendered(tmp_path, FEEDS, layout=Layout(state="/srv/trial"))[
        "home/systemd/mvstack-app-feeds.service"
    ]
    assert "--store lmdb:/srv/trial-app-feeds/store" in unit
    assert "-db /srv/trial-app-feeds/feeds.db" in unit


def test_an_image_is_a_quadlet(tmp_path: Path) -> None:
    files = rendered(tmp_path, PHOTOS)
    quadlet = files["attic/containers/mvstack-app-photos.container"]
    state = "/var/lib/mvstack-app-photos"
    lines = quadlet.splitlines()
    for line in (
        "Image=ghcr.io/lycheeorg/lychee:v7.7.4",
        "PublishPort=10.0.0.2:8001:8000",
        "DropCapability=all",
        "AddCapability=CAP_CHOWN",
        "NoNewPrivileges=true",
        'Environment="APP_URL=https://photos.example.org"',
        'Environment="LISTEN=0.0.0.0:8000"',
        'Environment="APP_KEY_FILE=/run/secrets/APP_KEY"',
        'Environment="AWS_BUCKET=our-photos"',
        'Environment="S3_ENABLED=true"',
        f'Environment="MVSQLITE_STORE=lmdb:{state}/store"',
        'Environment="MVSQLITE_MAP=/data/lychee.sqlite=lychee\\n/data/more/*.db={stem}"',
        f"Volume={state}/data:/data:idmap",
        "Volume=/srv/media:/media:idmap",
        f"Volume={state}/store:{state}/store:idmap",
        "Volume=/opt/mvstack/library:/opt/mvstack/library:ro",
        "Volume=/opt/mvstack/library/liblmdb.so.0:/usr/lib/liblmdb.so.0:ro",
        "ExecStartPre=/opt/mvstack/bin/python -m mvsqlite_stack.apps.library /opt/mvstack/library",
        "ExecStartPre=/opt/mvstack/bin/python -m mvsqlite_stack.apps.subordinate",
        "Volume=/etc/mvstack/apps/photos.preload:/etc/ld.so.preload:ro",
        "PodmanArgs=--pid=host",
        f"ExecStartPre=/usr/bin/install -d -o 33 -g 33 -m 0700 {state}/data",
        f"ExecStartPre=/usr/bin/install -d -o 33 -g 33 -m 0700 {state}/store",
        "EnvironmentFile=/etc/mvstack/secrets/apps/photos/environment.list",
    ):
        assert line in lines, line
    assert "AWS_SECRET_ACCESS_KEY" not in quadlet
    assert files["attic/apps/photos.preload"].splitlines()[1] == "/opt/mvstack/library/libmvsqlite_preload.so"
    assert "attic/systemd/mvstack-app-photos.service" not in files
    place = SYSTEM.place("attic/containers/mvstack-app-photos.container")
    assert place == "/etc/containers/systemd/mvstack-app-photos.container"
    assert SYSTEM.place("attic/apps/photos.preload") == "/etc/mvstack/apps/photos.preload"


def test_node_loads_the_extension(tmp_path: Path) -> None:
    files = rendered(tmp_path, NOTES)
    quadlet = files["home/containers/mvstack-app-notes.container"]
    assert 'Environment="NODE_OPTIONS=--require /opt/mvstack/library/node/register.cjs"\n' in quadlet
    assert "MVSQLITE_IMPORT" not in quadlet
    assert "ld.so.preload" not in quadlet
    assert "PublishPort=127.0.0.1:8080:8080\n" in quadlet


def test_what_can_only_be_reached_through_files_is_not_run(tmp_path: Path) -> None:
    files = rendered(tmp_path, NOTES.replace('"extension"', '"file"'))
    assert not [path for path in files if "app-notes" in path]


def test_a_server_is_dumped_every_night(tmp_path: Path) -> None:
    files = rendered(tmp_path, WIKI)
    unit = files["home/systemd/mvstack-app-wiki-dump.service"]
    store = "lmdb:/var/lib/mvstack-app-wiki/store"
    command = f"/opt/mvstack/bin/python -m mvsqlite_stack.apps.dump {store} wiki /usr/bin/pg_dump wiki"
    assert f"ExecStart={command}\n" in unit
    assert "CapabilityBoundingSet=CAP_SETUID CAP_SETGID\n" in unit
    assert "OnCalendar=" in files["home/systemd/mvstack-app-wiki-dump.timer"]
    assert "home/systemd/mvstack-app-wiki.service" not in files


def test_containers_find_all_that_the_library_needs(tmp_path: Path) -> None:
    target = tmp_path / "opt/library"
    assert library.make(target)
    there = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert {*library.OURS, *NEEDED, "node/register.cjs"} <= there
    assert not library.make(target), "it is as it should be"
    (target / "libmvsqlite.so").write_bytes(b"of another version")
    assert library.make(target)
    content = (target / "libmvsqlite.so").read_bytes()
    assert content == (library.PACKAGE / "libmvsqlite.so").read_bytes()
    needed = set(re.findall(rb"lib(?:lmdb|zstd|xxhash|sqlite3|crypto)\.so\.\d+", content))
    assert {name.decode() for name in needed} <= {*NEEDED}
    assert sorted(path.name for path in target.parent.iterdir()) == [".library.lock", "library"]


def test_secrets_come_in_the_forms_that_apps_want(tmp_path: Path) -> None:
    stack, secrets = read(tmp_path, FEEDS, PHOTOS), Secrets(tmp_path / "secrets")
    _, wanted = secrets.create(stack)
    assert {one.name for one in wanted} == {"buckets/photos/access_key", "buckets/photos/secret_key"}
    for one, value in zip(wanted, (b"KEY", b"abc+/="), strict=True):
        secrets.rotate(one, 300, value)
    home, attic = (secret_files(stack, host, secrets) for host in ("home", "attic"))
    assert sorted(home) == ["apps/feeds/SESSION", "apps/feeds/environment.list"]
    assert re.fullmatch(rb"[0-9a-f]{64}", home["apps/feeds/SESSION"])
    assert re.fullmatch(rb"TOKEN=[A-Za-z0-9+/]{43}=\n", home["apps/feeds/environment.list"])
    assert re.fullmatch(rb"base64:[A-Za-z0-9+/]{43}=", attic["apps/photos/APP_KEY"])
    keys = b"AWS_ACCESS_KEY_ID=KEY\nAWS_SECRET_ACCESS_KEY=abc+/=\n"
    assert attic["apps/photos/environment.list"] == keys
    secrets.rotate(wanted[0], 300, b"two words")
    with pytest.raises(StackError, match="rotate buckets/photos/access_key"):
        secret_files(stack, "attic", secrets)


def test_systemd_reads_the_units(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    files = rendered(tmp_path, FEEDS, WIKI)
    made = []
    for path, text in files.items():
        if "/mvstack-app-" in path:
            made.append(tmp_path / Path(path).name)
            made[-1].write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run([program, "verify", *made], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "mvstack-app-" in line]
    assert ours == []


def test_podman_reads_the_containers(tmp_path: Path) -> None:
    generator = Path("/usr/lib/systemd/system-generators/podman-system-generator")
    if not generator.exists():
        pytest.skip("podman's generator is not installed")
    containers = tmp_path / "units"
    containers.mkdir()
    for path, text in rendered(tmp_path, PHOTOS, NOTES).items():
        if "/containers/" in path:
            (containers / Path(path).name).write_text(text)
    done = subprocess.run(
        [generator, "--dryrun"],
        env={"QUADLET_UNIT_DIRS": str(containers)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mvstack-app-photos.service" in done.stdout
    assert "rror" not in done.stderr
