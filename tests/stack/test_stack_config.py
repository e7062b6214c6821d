"""What stack.toml may say, and that each error names file, line and remedy."""

from importlib.resources import files
from pathlib import Path

import pytest

from mvsqlite_stack import config
from mvsqlite_stack.errors import Problem, StackError
from mvsqlite_stack.places import line_of

GOOD = """\
[stack]
domain = "example.org"

[hosts.home]
gateway = true

[hosts.attic]
address = "10.0.0.2"

[users.anna]
groups = ["family"]

[apps.notes]
on = "home"
port = 8081
allow = ["@family"]

[apps.photos]
on = "attic"
port = 8081
allow = ["anna"]
public_paths = [
    "/share/*",   # with a comment
    "/about",
]
"""


def problems(tmp_path: Path, text: str) -> list[Problem]:
    file = tmp_path / "stack.toml"
    file.write_text(text)
    with pytest.raises(StackError) as caught:
        config.read(file)
    return list(caught.value.problems)


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1
    return GOOD.replace(old, new, 1)


def test_a_good_file(tmp_path: Path) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(GOOD)
    stack = config.read(file)
    assert stack.host_of("photos") == "photos.example.org"
    assert stack.sign_in_host == "login.example.org"
    assert stack.upstream("notes") == "127.0.0.1:8081"
    assert stack.upstream("photos") == "10.0.0.2:8081"
    assert stack.groups == {"family": ("anna",)}


@pytest.mark.parametrize(
    ("text", "line", "key", "what", "remedy"),
    [
        (changed('domain = "example.org"', "domain = "), 2, "", "Invalid value", "syntax"),
        (changed('"example.org"', '"co.uk"'), 2, "stack.domain", "public suffix", "home.co.uk"),
        (changed('"example.org"', '"github.io"'), 2, "stack.domain", "public suffix", "home.github.io"),
        (changed('"example.org"', '"org"'), 2, "stack.domain", "not a host name", "lower case"),
        (changed('"example.org"', '"Example.org"'), 2, "stack.domain", "not a host name", "lower case"),
        (changed('domain = "example.org"', ""), 1, "stack.domain", "missing", "[stack]"),
        (changed("gateway = true", "gateway = 1"), 5, "hosts.home.gateway", "1 is not", "true or false"),
        (changed("gateway = true", "gateway = false"), 7, "hosts.attic", "no host has", "exactly one"),
        (changed('address = "10.0.0.2"', "gateway = true"), 7, "hosts.attic", "on 2 hosts", "exactly one"),
        (changed("[users.anna]", "[users.Anna]"), 10, "users.Anna", "not a user's name", "lower-case"),
        (changed("[users.anna]", '[users."an na"]'), 10, "users.an na", "not a user's name", "lower-case"),
        (changed("port = 8081", 'port = "8081"'), 15, "apps.notes.port", "'8081'", "whole number"),
        (changed("port = 8081", "port = 70000"), 15, "apps.notes.port", "70000", "65535"),
        (changed("port = 8081", "port = 443"), 15, "apps.notes.port", "ports.https", "8081"),
        (changed("port = 8081", "port = 8400"), 15, "apps.notes.port", "ports.sign_in", "8081"),
        (changed('on = "attic"', 'on = "home"'), 20, "apps.photos.port", "apps.notes", "8082"),
        (changed('on = "attic"', 'on = "cellar"'), 19, "apps.photos.on", "no host 'cellar'", "home, attic"),
        (
            changed('on = "home"', 'on = "home"\nhost = "notes.example.net"'),
            15,
            "apps.notes.host",
            "not below",
            "NAME",
        ),
        (
            changed('on = "home"', 'on = "home"\nhost = "example.org"'),
            15,
            "apps.notes.host",
            "not below",
            "NAME",
        ),
        (
            changed('on = "home"', 'on = "home"\nhost = "evilexample.org"'),
            15,
            "apps.notes.host",
            "not below",
            "NAME",
        ),
        (
            changed('on = "home"', 'on = "home"\nhost = "login.example.org"'),
            15,
            "apps.notes.host",
            "sign-in",
            "own",
        ),
        (
            changed('on = "attic"', 'on = "attic"\nhost = "notes.example.org"'),
            20,
            "apps.photos.host",
            "apps.notes",
            "own",
        ),
        (changed("[apps.notes]", "[apps.login]"), 13, "apps.login.host", "sign-in", "own"),
        (changed("[apps.notes]", "[apps.no_tes]"), 13, "apps.no_tes", "not a name", "hyphens"),
        (
            changed('"@family"', '"@friends"'),
            16,
            "apps.notes.allow",
            "no user is in a group 'friends'",
            "@group",
        ),
        (changed('allow = ["anna"]', 'allow = ["zoe"]'), 21, "apps.photos.allow", "no user 'zoe'", "[users]"),
        (changed('allow = ["@family"]', ""), 13, "apps.notes.allow", "nobody may enter", "public = true"),
        (
            changed('allow = ["@family"]', 'allow = ["*"]\npublic = true'),
            17,
            "apps.notes.public",
            "public",
            "one",
        ),
        (changed('"/about"', '"/*"'), 22, "apps.photos.public_paths.1", "opens everything", "public = true"),
        (changed('"/about"', '"/a/../b"'), 22, "apps.photos.public_paths.1", "not a path", "/share/*"),
        (changed('"/about"', '"/a b"'), 22, "apps.photos.public_paths.1", "not a path", "/share/*"),
        (changed('"/about"', '"about"'), 22, "apps.photos.public_paths.1", "not a path", "/share/*"),
        (changed('"/about"', '"/(.*)"'), 22, "apps.photos.public_paths.1", "not a path", "/share/*"),
        (changed('"/about"', '"/share/*"'), 22, "apps.photos.public_paths", "twice", "once"),
        (
            changed('on = "home"', 'on = "home"\ntitle = "a\\"; b"'),
            15,
            "apps.notes.title",
            "otherwise",
            "plain",
        ),
        (changed('on = "home"', 'on = "home"\ndata = ["srv"]'), 15, "apps.notes.data.0", "absolute", "root"),
    ],
)
def test_an_error_names_line_and_remedy(
    tmp_path: Path, text: str, line: int, key: str, what: str, remedy: str
) -> None:
    found = problems(tmp_path, text)
    assert [(one.line, one.key) for one in found] == [(line, key)]
    assert what in found[0].what
    assert remedy in found[0].remedy
    assert str(found[0]).startswith(f"{tmp_path / 'stack.toml'}:{line}: ")


def test_a_missing_table(tmp_path: Path) -> None:
    found = problems(tmp_path, "[hosts.home]\ngateway = true\n")
    assert [str(one) for one in found] == [
        f"{tmp_path / 'stack.toml'}: stack: it is missing. Add a table [stack]."
    ]


def test_a_misspelt_key(tmp_path: Path) -> None:
    found = problems(tmp_path, changed("domain =", "domian ="))
    assert [(one.line, one.key) for one in found] == [(1, "stack.domain"), (2, "stack.domian")]
    assert found[1].remedy == "Perhaps domain was meant"


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("port = 8081", "port = 0").replace("example.org", "co.uk")
    assert [one.line for one in problems(tmp_path, text)] == [2, 15, 20]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"there is no such file\. Write one with: mvstack init"):
        config.read(tmp_path / "stack.toml")


@pytest.mark.parametrize(
    "line",
    [
        'environment = { API_KEY = "abc" }',
        'environment = { DATABASE_PASSWORD = "x" }',
        'environment = { DATABASE_URL = "postgres://user:pass@host/db" }',
        'environment = { KEY = "0123456789abcdef0123456789abcdef" }',
        'environment = { APP = "base64:q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=" }',
        'environment = { X = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln" }',
        'environment = { X = "AKIAIOSFODNN7EXAMPLE" }',
        'environment = { X = "$argon2id$v=19$m=65536" }',
        'title = "-----BEGIN EC PRIVATE KEY-----"',
        'secret = "x"',
        'password = "x"',
        'token = "x"',
    ],
)
def test_what_looks_like_a_secret_is_refused(tmp_path: Path, line: str) -> None:
    found = problems(tmp_path, changed('on = "home"', f'on = "home"\n{line}'))
    assert [one.line for one in found] == [15]
    assert "looks like a secret" in found[0].what
    assert "mvstack secrets rotate apps/notes/" in found[0].remedy
    assert line.split('"')[1] not in str(found[0]), "the message does not repeat it"


@pytest.mark.parametrize(
    "line",
    [
        'environment = { LEVEL = "debug", URL = "https://notes.example.org/a", TOKEN_FILE = "/etc/token" }',
        'environment = { SECRET_KEY = "/run/secret" }',
        'secrets = ["SECRET_KEY", "API_TOKEN"]',
        'command = ["/usr/bin/notes", "--port", "8081"]',
    ],
)
def test_what_is_no_secret_passes(tmp_path: Path, line: str) -> None:
    file = tmp_path / "stack.toml"
    file.write_text(changed('on = "home"', f'on = "home"\n{line}'))
    config.read(file)


@pytest.mark.parametrize(
    ("text", "path", "line"),
    [
        ('a = 1\n"b c" = 2\n', ("b c",), 2),
        ("[t]\nx.y = 1\n", ("t", "x", "y"), 2),
        ("[t]\nx = [\n 1,\n]\ny = 2\n", ("t", "y"), 5),
        ('[t]\nx = """\ny = 1\n"""\ny = 2\n', ("t", "y"), 5),
        ("[t]\nx = { y = 1 }\n", ("t", "x", "y"), 2),
        ("[ t . 'u.v' ]  # c\nx = 1\n", ("t", "u.v", "x"), 2),
        ('[t]\nx = "[#"\ny = 1\n', ("t", "y"), 3),
        ("[t]\n", ("t", "missing"), 1),
        ("[t]\n", ("u",), None),
    ],
)
def test_where_a_key_stands(text: str, path: tuple[str, ...], line: int | None) -> None:
    assert line_of(text, path) == line


def test_every_key_of_the_template_is_known_and_explained() -> None:
    text = files("mvsqlite_stack").joinpath("stack.template.toml").read_text()
    for table in ("stack", "hosts", "tls", "store", "users", "apps", "buckets"):
        assert f"[{table}" in text
