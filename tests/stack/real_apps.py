"""A household on this machine in which real apps run, by the units that are rendered for them."""

import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import mvsqlite_py
from gateways import PATIENCE, listens, process, wait_for
from household import DOMAIN, certificate, free_ports
from mvsqlite_stack import render
from mvsqlite_stack.apps import recipe
from mvsqlite_stack.apps.declare import declare
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.secrets import Secrets
from mvsqlite_stack.signin.service import Service
from mvsqlite_stack.signin.settings import read

PASSWORD = "correct horse battery"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mvsqlite-tests"
YARR_TAGS = "libsqlite3 sqlite_foreign_keys sqlite_json sqlite_fts5"
GALLERY = Path(__file__).parents[1] / "apps" / "gallery"
TOP = """\
[stack]
domain = "{domain}"
gateway = "nginx"
[hosts.home]
gateway = true
[ports]
listen = ["127.0.0.1"]
http = {http}
https = {https}
sign_in = {sign_in}
certificates = {certificates}
status = {status}
[limits]
sign_in_requests_per_second = 1000
[tls]
certificate = "{directory}/cert.pem"
key = "{directory}/key.pem"
[store]
url = "lmdb:{directory}/store"
[users.anna]
"""
PHOTOS = """\
[apps.photos]
on = "home"
port = {port}
allow = ["anna"]
version = "v1"
requests_per_second = 10000
health = "/albums"
command = ["/usr/bin/php", "-S", "{{listen}}:{{port}}", "-t", "{gallery}/public", \
"{gallery}/public/index.php"]
environment = {{ GALLERY = "{{state}}", DB_DATABASE = "{{state}}/gallery.sqlite", V = "{{version}}" }}
database = {{ route = "preload", map = {{ "{{state}}/*.sqlite" = "{{stem}}" }} }}
"""


def yarr() -> Path:
    """yarr, linked to the system's SQLite: built once, and kept between runs."""
    version = recipe.load("yarr").version
    place = CACHE / f"yarr-{version}"
    if (place / "yarr").exists():
        return place / "yarr"
    go = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if go is None:
        pytest.skip("yarr is not built here, and there is no Go to build it with")
    source = os.environ.get("MVSTACK_YARR_SOURCE")
    own = {"GOBIN": str(place), "CGO_ENABLED": "1", "GOTOOLCHAIN": "local"}
    if source:
        own["GOFLAGS"] = "-mod=mod"
    what = "./cmd/yarr" if source else f"github.com/nkanaev/yarr/cmd/yarr@{version}"
    done = subprocess.run(
        [go, "install", "-tags", YARR_TAGS, what],
        cwd=source or "/",
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        pytest.skip(f"yarr could not be built (MVSTACK_YARR_SOURCE may name its source): {last}")
    return place / "yarr"


class Transport(httpx.HTTPTransport):
    """Every host is on loopback."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.Request(
            request.method,
            request.url.copy_with(host="127.0.0.1"),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": request.url.host},
        )
        return super().handle_request(there)


class Home:
    """A declared household in a directory, with everything it keeps below it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "stack.toml"
        self.layout = Layout(
            settings=str(directory / "settings"),
            state=str(directory / "state"),
            gateway=str(directory / "gateway"),
            programs=str(Path(sys.executable).parent),
        )
        certificate(directory)
        names = ("http", "https", "sign_in", "certificates", "status", "feeds", "photos")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.file.write_text(TOP.format(domain=DOMAIN, directory=directory, **self.ports))
        with self.file.open("a") as out:
            out.write(PHOTOS.format(port=self.ports["photos"], gallery=GALLERY))
        self.stack = declare(
            self.file, recipe.load("yarr"), "feeds", port=self.ports["feeds"], allow=("anna",)
        )
        self.secrets = Secrets(directory / "secrets")
        for app in self.stack.apps:
            self.state(app).mkdir(parents=True)

    def install_yarr(self) -> None:
        program = self.state("feeds") / "program" / (self.stack.apps["feeds"].version or "")
        program.mkdir(parents=True)
        (program / "yarr").symlink_to(yarr())

    def state(self, app: str) -> Path:
        return Path(self.layout.app(app))

    def address(self, host: str, path: str = "") -> str:
        return f"https://{host}.{DOMAIN}:{self.ports['https']}{path}"

    def rendered(self) -> Path:
        """Writes all files as on a host, and returns their directory."""
        self.secrets.create(self.stack)
        out = self.directory / "rendered"
        for path, text in render.files(
            self.stack, self.secrets.public_keys(), self.file.name, self.layout
        ).items():
            place = out / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return out / "home"

    # ---- servers -------------------------------------------------------------------

    def unit(self, app: str) -> tuple[list[str], dict[str, str]]:
        """Command and environment, as systemd would read them."""
        text = (self.directory / f"rendered/home/systemd/mvstack-app-{app}.service").read_text()
        command = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)[0].replace("%%", "%")
        said = re.findall(r'^Environment="([^=]*)=(.*)"$', text, re.MULTILINE)
        return shlex.split(command), {name: value.replace("%%", "%") for name, value in said}

    @contextmanager
    def running(self, app: str) -> Iterator[None]:
        """Runs an app by its unit, until the end of the block."""
        command, environment = self.unit(app)
        port = self.stack.apps[app].port
        log = self.directory / f"{app}.log"
        bare = {name: value for name, value in os.environ.items() if not name.startswith("MVSQLITE_")}
        with log.open("ab") as output:
            server = subprocess.Popen(
                command,
                cwd=self.state(app),
                env=bare | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            wait_for(app, lambda: listens(port) or server.poll() is not None)
            assert server.poll() is None, log.read_text(errors="replace")
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.wait(PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait(PATIENCE)

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """nginx and the sign-in service, by what is rendered for them."""
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx is None:
            pytest.skip("nginx is not installed: make setup installs it")
        place = self.rendered()
        keys = Path(self.layout.keys)
        keys.parent.mkdir(parents=True)
        keys.symlink_to(self.secrets.directory / "signin/keys")
        settings = place / "signin/signin.toml"
        service = Service(read(settings))
        service.accounts.add("anna", "Anna", PASSWORD, "a test")
        service.close()
        Path(self.layout.gateway).mkdir()
        front = [nginx, "-p", self.layout.gateway, "-e", "stderr", "-c", str(place / "nginx/nginx.conf")]
        sign_in = [sys.executable, "-m", "mvsqlite_stack.signin"]
        with ExitStack() as stack:
            stack.enter_context(process(sign_in, self.directory / "signin.log", MVSTACK_SIGNIN=str(settings)))
            stack.enter_context(process(front, self.directory / "nginx.log"))
            wait_for("gateway", lambda: listens(self.ports["https"]) and listens(self.ports["sign_in"]))
            yield

    # ---- visitors ------------------------------------------------------------------

    def visitor(self) -> httpx.Client:
        """A browser without a session, which keeps cookies and does not follow redirects."""
        context = ssl.create_default_context(cafile=self.directory / "cert.pem")
        return httpx.Client(transport=Transport(verify=context), timeout=PATIENCE)

    @contextmanager
    def signed_in(self) -> Iterator[httpx.Client]:
        """Anna's, who came by the sign-in page."""
        with self.visitor() as browser:
            self._sign_in(browser)
            yield browser

    def _sign_in(self, browser: httpx.Client) -> None:
        page = browser.get(self.address("login"), headers={"Accept": "text/html"})
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text))
        fields = {**hidden, "name": "anna", "password": PASSWORD}
        done = browser.post(
            self.address("login", "/sign-in"), data=fields, headers={"Origin": self.address("login")}
        )
        assert done.status_code == 303, done.text

    # ---- the store -------------------------------------------------------------------

    def versions(self, app: str, database: str, statement: str) -> list[str]:
        """The versions whose statements hold this text, newest first."""
        with mvsqlite_py.open_store(self.stack.store_of(app, self.layout.state)) as store:
            found = store.database(database).versions()
            return [one.version for one in found if statement in (one.statements or "")]

    def mvrevert(self, app: str, *words: str) -> str:
        """The command, as somebody at this machine would type it."""
        store = self.stack.store_of(app, self.layout.state)
        done = subprocess.run(
            [f"{self.layout.programs}/mvrevert", *words, "--store", store],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done.stdout
