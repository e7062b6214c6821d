"""Answers that many visitors get: made once, compressed once, sent without a framework in between."""

import gzip
import hashlib
from dataclasses import dataclass

from starlette.types import Scope, Send

Headers = list[tuple[bytes, bytes]]

COMPRESSED_FROM = 500
"""Bytes; less fits into one packet as it is."""
SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
"""On every answer."""


def encoded(headers: dict[str, str]) -> Headers:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


@dataclass(frozen=True, slots=True)
class Body:
    """One answer in the three forms in which it is sent."""

    mark: bytes
    plain: bytes
    packed: bytes
    """Compressed; empty if that is not worth it."""
    headers: Headers
    """Of an answer without a body too."""
    kind: bytes

    @staticmethod
    def of(kind: str, text: str | bytes, cache: str = "no-cache", **more: str) -> "Body":
        """cache: Cache-Control. more: other headers, with underscores for hyphens."""
        plain = text.encode() if isinstance(text, str) else text
        packed = gzip.compress(plain, 9, mtime=0) if len(plain) >= COMPRESSED_FROM else b""
        mark = f'W/"{hashlib.sha256(plain).hexdigest()[:20]}"'
        named = {name.replace("_", "-"): value for name, value in more.items()}
        headers = {**SECURITY, "Cache-Control": cache, "ETag": mark, "Vary": "Accept-Encoding", **named}
        return Body(mark.encode(), plain, packed, encoded(headers), kind.encode())

    async def send(self, scope: Scope, send: Send) -> None:
        asked = dict(scope["headers"])
        if self.mark in asked.get(b"if-none-match", b""):
            await send({"type": "http.response.start", "status": 304, "headers": self.headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers, body = [*self.headers, (b"content-type", self.kind)], self.plain
        if self.packed and b"gzip" in asked.get(b"accept-encoding", b""):
            headers.append((b"content-encoding", b"gzip"))
            body = self.packed
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
