"""Tokens: what they say, and which are believed."""

import base64
import binascii
import json
import time
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError

from mvsqlite_stack.signin.keys import Keys, Ring

ALGORITHM = "ES256"
TOKEN_MAX = 4096
"""Characters: browsers keep no larger cookie."""
CHECKED_MAX = 10_000
"""Texts whose signatures are remembered to be right: checking one takes ten times all the rest."""
CLOCK_SECONDS = 5
"""How far the clock of a gateway may be behind ours: tokens are valid that much before they are made."""


class TokenError(ValueError):
    """The token is not to be believed; the message says why, for logs and tests, not for visitors."""


@dataclass(frozen=True, slots=True)
class Token:
    """What a believed token says."""

    user: str
    session: str
    apps: tuple[str, ...]
    issued: float
    begins: float
    expires: float

    def is_half_over(self, now: float) -> bool:
        return now > (self.issued + self.expires) / 2


def issue(keys: Keys, user: str, session: str, apps: list[str], seconds: int) -> str:
    """A signed token; seconds: how long it is valid."""
    key = keys.ring().signing
    now = int(time.time())
    claims = {
        "iss": key.id,
        "sub": user,
        "aud": apps,
        "sid": session,
        "iat": now,
        "nbf": now - CLOCK_SECONDS,
        "exp": now + seconds,
    }
    return jwt.encode({"alg": ALGORITHM, "kid": key.id}, claims, key.jwk, algorithms=[ALGORITHM])


def check(keys: Keys, text: str, now: float) -> Token:
    """What a token says, if it is one of ours and valid now. Raises TokenError."""
    ring = keys.ring()
    token: Token | None = ring.checked.get(text)
    if token is None:
        token = _signed(ring, text)
        if len(ring.checked) >= CHECKED_MAX:
            ring.checked.clear()
        ring.checked[text] = token
    if now < token.begins:
        raise TokenError("not valid yet")
    if now >= token.expires:
        raise TokenError("expired")
    return token


def _signed(ring: Ring, text: str) -> Token:
    """What a token says whose signature and form are right, whenever it is valid."""
    if len(text) > TOKEN_MAX:
        raise TokenError("too long")
    header = _header(text)
    if header.get("alg") != ALGORITHM:
        raise TokenError("another algorithm")
    if not header.keys() <= {"alg", "kid", "typ"}:
        raise TokenError("unknown header")
    kid = header.get("kid")
    key = ring.keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise TokenError("unknown key")
    try:
        claims = jwt.decode(text, key.jwk, algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError, TypeError) as error:
        raise TokenError("signature or form") from error
    return _said(claims, key.id)


def _header(text: str) -> dict[str, Any]:
    if text.count(".") != 2:
        raise TokenError("not three parts")
    first = text.partition(".")[0]
    try:
        header = json.loads(base64.b64decode(first + "=" * (-len(first) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError) as error:
        raise TokenError("header is no JSON") from error
    if not isinstance(header, dict):
        raise TokenError("header is no object")
    return header


def _said(claims: Any, issuer: str) -> Token:
    if not isinstance(claims, dict) or claims.get("iss") != issuer:
        raise TokenError("issued in another key's name")
    times = [claims.get(name) for name in ("iat", "nbf", "exp")]
    texts = [claims.get("sub"), claims.get("sid")]
    apps = claims.get("aud")
    if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in times):
        raise TokenError("a time is missing")
    if not all(isinstance(one, str) and one for one in texts):
        raise TokenError("user or session is missing")
    if not isinstance(apps, list) or not all(isinstance(one, str) for one in apps):
        raise TokenError("aud is no list of names")
    issued, start, end = (float(str(one)) for one in times)
    return Token(str(texts[0]), str(texts[1]), tuple(apps), issued, start, end)
