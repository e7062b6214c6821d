"""Public paths as patterns over the path as the client wrote it.

A gateway and an app may read one path in two ways: ``/share/..%2fnotes`` is below ``/share`` until somebody
decodes it. So only what can be read in one way is public: no dot segments, no empty segments, no escapes but
those of spaces and of well-formed UTF-8. All else is private, wherever it leads. The patterns mean the same
to PCRE and to Python. Kong's router knows no lookahead and compares a path of which the escapes are decoded:
for it there are wider patterns, and a function behind it asks for the ones here.
"""

import re

_TAIL = "%[89ABab][0-9A-Fa-f]"
_UTF8 = "|".join(
    (
        f"%(?:[Cc][2-9A-Fa-f]|[Dd][0-9A-Fa-f]){_TAIL}",
        f"%[Ee]0%[ABab][0-9A-Fa-f]{_TAIL}",
        f"%[Ee][1-9A-Fa-f]{_TAIL}{_TAIL}",
        f"%[Ff]0%[9ABab][0-9A-Fa-f]{_TAIL}{_TAIL}",
        f"%[Ff][1-3]{_TAIL}{_TAIL}{_TAIL}",
    )
)
_FIRST = rf"(?:[A-Za-z0-9_~!$&()*+,=:@-]|%20|{_UTF8})"
_SEGMENT = rf"/{_FIRST}(?:{_FIRST}|\.)*"
BELOW = rf"(?:{_SEGMENT})*/?"
"""Whatever may follow a path that ends in ``/*``."""
_PLAIN_DECODED = r"[A-Za-z0-9_~!$&()*+,=:@ -]|[^\x00-\x7F]"
_BELOW_DECODED = rf"(?:/(?:{_PLAIN_DECODED})(?:{_PLAIN_DECODED}|\.)*)*/?"


def pattern(path: str) -> str:
    """What the path of a request must match, from its first to its last character."""
    if path.endswith("/*"):
        return _literal(path.removesuffix("/*")) + BELOW
    return _literal(path)


def routed(path: str) -> str:
    """What Kong's router shall take for a public path, from its first to its last character."""
    if path.endswith("/*"):
        return _literal(path.removesuffix("/*")) + _BELOW_DECODED
    return _literal(path)


def _literal(path: str) -> str:
    return "".join(rf"\{char}" if char in ".+*?()[]{}|^$\\" else char for char in path)


def is_public(path: str, declared: tuple[str, ...]) -> bool:
    """Whether a request's path, as written and without its query, is one of those declared public."""
    return any(re.fullmatch(pattern(one), path) for one in declared)
