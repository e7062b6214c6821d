"""Where a visitor may be sent: only to apps, however the address is written."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mvsqlite_stack.signin.redirects import checked
from mvsqlite_stack.signin.settings import App, Settings

SETTINGS = Settings(
    domain="home.test",
    keys=Path("keys"),
    apps={"notes": App(host="notes.home.test"), "pad": App(host="pad.home.test", public=True)},
)
ON_A_PORT = SETTINGS.model_copy(update={"port": 8443})


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("https://notes.home.test", "https://notes.home.test/"),
        ("https://notes.home.test/a/b?c=d&e=%2F", "https://notes.home.test/a/b?c=d&e=%2F"),
        ("HTTPS://Notes.Home.Test/A", "https://notes.home.test/A"),
        ("https://notes.home.test:443/x", "https://notes.home.test/x"),
        ("https://notes.home.test/x#part", "https://notes.home.test/x"),
        ("https://notes.home.test?x", "https://notes.home.test/?x"),
        ("https://notes.home.test//evil.test/", "https://notes.home.test//evil.test/"),
        ("https://notes.home.test/?to=https://evil.test", "https://notes.home.test/?to=https://evil.test"),
    ],
)
def test_addresses_of_apps_are_kept(to: str, expected: str) -> None:
    assert checked(to, SETTINGS) == expected


TRICKS = [
    "",
    "/",
    "/account",
    "//evil.test",
    "\\\\evil.test",
    "/\\evil.test",
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "https://evil.test",
    "http://notes.home.test/",
    "javascript:alert(1)//https://notes.home.test",
    "data:text/html,x",
    "https://notes.home.test@evil.test/",
    "https://evil.test@notes.home.test/",
    "https://user:pass@notes.home.test/",
    "https://evil.test#@notes.home.test/",
    "https://evil.test?@notes.home.test/",
    "https://evil.test\\@notes.home.test/",
    "https://notes.home.test\\@evil.test/",
    "https://notes.home.test\\.evil.test/",
    "https://notes.home.test.evil.test/",
    "https://evilnotes.home.test/",
    "https://notes.home.test./",
    "https://notes.home.test:8443/",
    "https://notes.home.test:443@evil.test/",
    "https://notes.home.test:/",
    "https://notes.home.test:0443/",
    "https://[::1]/",
    "https://[notes.home.test]/",
    "https://notes.home.test%2eevil.test/",
    "https://notes.home.test%00.evil.test/",
    "https://notes。home.test/",
    "https://n\u03bftes.home.test/",
    "https://evil.test/\thttps://notes.home.test",
    "https://notes.home.test/\r\nSet-Cookie: a=b",
    "https://notes.home.test/ x",
    " https://notes.home.test/",
    "https://notes.home.test/\x00",
    "ht\ntps://notes.home.test/",
    "https://login.home.test/sign-out",
    "https://home.test/",
    "https://notes.home.test/" + "a" * 2048,
]


@pytest.mark.parametrize("to", TRICKS)
def test_everything_else_is_refused(to: str) -> None:
    assert checked(to, SETTINGS) is None


def test_the_port_is_that_of_the_settings() -> None:
    assert checked("https://notes.home.test:8443/x", ON_A_PORT) == "https://notes.home.test:8443/x"
    assert checked("https://notes.home.test/x", ON_A_PORT) is None


WORDS = "https http : // / \\ @ # ? . %2f %5c [ ] 443 a notes.home.test evil.test"
ODD = ["Notes.HOME.test", "login.home.test", "\t", "\n", "\r", " ", "\x00", "\u3002"]
PIECES = st.sampled_from([*WORDS.split(), *ODD])


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=40).map(lambda t: f"https://{t}"))
@example("https://notes.home.test\\@evil.test")
def test_whatever_is_let_through_is_plain_and_leads_to_an_app(to: str) -> None:
    result = checked(to, SETTINGS)
    if result is None:
        return
    assert result.startswith(("https://notes.home.test/", "https://pad.home.test/"))
    assert result.isascii()
    assert not set(result) & set("\\ \t\r\n\x00")
    assert urlsplit(result).netloc in {"notes.home.test", "pad.home.test"}
    assert checked(result, SETTINGS) == result
