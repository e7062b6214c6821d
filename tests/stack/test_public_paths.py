"""Public paths: whatever matches leads nowhere else, however often it is decoded and resolved."""

import posixpath
import re
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_model import normalized
from mvsqlite_stack.render.public import is_public, pattern

TEMPTING = st.lists(
    st.sampled_from(
        ["/", "share", "..", ".", "%2e", "%2f", "%5c", ";", "%25", "%00", "\\", "%c0%ae", "x", "%C3%A9", "//"]
    ),
    max_size=8,
).map(lambda parts: "/share" + "".join(parts))


def read_by_apps(path: str) -> set[str]:
    """What an app may make of a path: decoded up to three times, resolved before or after."""
    found = {path, normalized(path)}
    for _ in range(3):
        found |= {unquote(one, errors="replace") for one in found}
        found |= {posixpath.normpath(one.replace("\\", "/").replace("//", "/")) for one in found}
    return found


@settings(max_examples=60, deadline=None)
@given(st.from_regex(re.compile(pattern("/share/*"), re.ASCII), fullmatch=True) | TEMPTING)
def test_what_matches_stays_below(path: str) -> None:
    if is_public(path, ("/share/*",)):
        assert [one for one in read_by_apps(path) if one != "/share" and not one.startswith("/share/")] == []


@pytest.mark.parametrize(
    "path", ["/share", "/share/", "/share/a/b.c", "/share/%E2%82%AC/%F0%9F%98%80", "/share/a%20b"]
)
def test_ordinary_paths_match(path: str) -> None:
    assert is_public(path, ("/share/*",))


@pytest.mark.parametrize(
    "path", ["/", "/shar", "/share.", "/sharex", "/share/.", "/share/..", "/share/a//b", "share"]
)
def test_others_do_not(path: str) -> None:
    assert not is_public(path, ("/share/*",))


def test_a_path_without_a_star_is_only_itself() -> None:
    assert is_public("/a.b", ("/a.b",))
    assert not is_public("/axb", ("/a.b",))
    assert not is_public("/a.b/", ("/a.b",))
