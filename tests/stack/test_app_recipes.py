"""Recipes: data files that make good declarations, and pages that say what they take."""

from pathlib import Path

import pytest

from mvsqlite_stack import config, render
from mvsqlite_stack.apps import recipe
from mvsqlite_stack.apps.declare import declare
from mvsqlite_stack.errors import StackError
from mvsqlite_stack.model import Stack
from mvsqlite_stack.secrets import Secrets

TOP = """\
# our household
[stack]
domain = "example.org"   # ours
[hosts.home]
gateway = true
[users.anna]
[buckets.media]
endpoint = "https://s3.example.net"
bucket = "media"
"""
ALL = ("lychee", "outline", "rustpad", "trilium", "yarr")
DIGEST = "0123456789abcdef" * 4


def added(directory: Path, name: str, **options: str) -> Stack:
    file = directory / "stack.toml"
    file.write_text(TOP)
    one = recipe.load(name)
    version = None if one.version else DIGEST
    return declare(file, one, name, version=version, allow=("anna",), **options)  # type: ignore[arg-type]


def test_there_are_five() -> None:
    assert tuple(recipe.names()) == ALL


@pytest.mark.parametrize("name", ALL)
def test_a_recipe_makes_a_good_declaration(tmp_path: Path, name: str) -> None:
    stack = added(tmp_path, name)
    app = stack.apps[name]
    assert app.recipe == name
    assert app.version
    assert app.allow == ("anna",)
    assert app.database.why
    secrets = Secrets(tmp_path / "secrets")
    secrets.create(stack)
    files = render.files(stack, secrets.public_keys(), "stack.toml")
    run = {path.partition("/")[2] for path in files if f"mvstack-app-{name}." in path}
    kind = (
        "systemd/mvstack-app-yarr.service" if name == "yarr" else f"containers/mvstack-app-{name}.container"
    )
    assert run == ({kind} if name != "rustpad" else set()), "what only files reach is not run"
    assert not [text for text in files.values() if "{" + "version}" in text or "{" + "state}" in text]


@pytest.mark.parametrize("name", ["lychee", "outline"])
def test_uploads_go_into_a_bucket(tmp_path: Path, name: str) -> None:
    stack = added(tmp_path, name, bucket="media")
    secrets = Secrets(tmp_path / "secrets")
    _, wanted = secrets.create(stack)
    assert len(wanted) == 2
    files = render.files(stack, secrets.public_keys(), "stack.toml")
    text = files[f"home/containers/mvstack-app-{name}.container"]
    assert "https://s3.example.net" in text
    assert "EnvironmentFile=" in text
    assert "SECRET_ACCESS_KEY" not in text
    if name == "outline":
        assert 'Environment="FILE_STORAGE=s3"\n' in text
        assert "FILE_STORAGE=local" not in text


def test_a_recipe_without_uploads_takes_no_bucket(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="cannot put its uploads into a bucket"):
        added(tmp_path, "yarr", bucket="media")


@pytest.mark.parametrize("name", ALL)
def test_its_page_says_the_same(name: str) -> None:
    one = recipe.load(name)
    page = one.page
    assert page.startswith("# ")
    assert str(one.app["port"]) in page
    assert one.version is None or one.version in page
    assert f"`{one.route}`" in page
    assert str(one.app["health"]) in page
    for path in one.app.get("public_paths", ()):
        assert f"`{path}`" in page
    for word in ("**Upgrade.**", "Public", "Uploads to S3", "**Why "):
        assert word in page


def test_without_a_release_a_version_has_to_be_said(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(TOP)
    with pytest.raises(StackError, match="--version"):
        declare(file, recipe.load("rustpad"), "pad")
    assert file.read_text() == TOP


def test_an_ordinary_file_is_a_choice(tmp_path: Path) -> None:
    stack = added(tmp_path, "rustpad", route="none")
    secrets = Secrets(tmp_path / "secrets")
    secrets.create(stack)
    files = render.files(stack, secrets.public_keys(), "stack.toml")
    text = files["home/containers/mvstack-app-rustpad.container"]
    assert f"Image=docker.io/ekzhang/rustpad@sha256:{DIGEST}\n" in text
    assert "MVSQLITE" not in text


def test_a_taken_port_is_replaced(tmp_path: Path) -> None:
    added(tmp_path, "trilium")
    file = tmp_path / "stack.toml"
    stack = declare(file, recipe.load("trilium"), "second")
    assert (stack.apps["second"].port, stack.apps["second"].container_port) == (8081, 8080)
    assert config.read(file).apps["second"].allow == ("*",)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[app]\nport = 1\non = 'home'", "app.on is the household's"),
        ("[app]\ntitle = 'x'", "app.port is missing"),
        ("[recipe]\nversion = 'x'", "it is no recipe"),
        ("[app]\nport = 1\n[recipe]\nauthor = 'x'", "recipe.author is not known"),
        ("[app", "TOML"),
    ],
)
def test_what_is_no_recipe_is_told(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "own.toml"
    file.write_text(text)
    with pytest.raises(StackError, match=what):
        recipe.load(str(file))


def test_an_own_recipe(tmp_path: Path) -> None:
    file = tmp_path / "wiki.toml"
    file.write_text('[app]\nport = 8090\ncommand = ["/usr/bin/wiki", "{port}"]\nhealth = "/well"\n')
    file.with_suffix(".md").write_text("# Ours\n")
    stack_file = tmp_path / "stack.toml"
    stack_file.write_text(TOP)
    one = recipe.load(str(file))
    app = declare(stack_file, one, one.name, public=True).apps["wiki"]
    assert (one.page, app.public, app.health, app.version) == ("# Ours\n", True, "/well", None)
