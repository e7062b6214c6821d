"""One request and what became of it, whatever the gateway."""

from dataclasses import dataclass, field

from household import NOTES

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Request:
    """As a client writes it. ``host`` is the Host header; None: none at all."""

    target: str = "/notes/1"
    host: str | None = NOTES
    method: str = "GET"
    headers: Headers = ()
    body: bytes = b""
    sni: str = NOTES
    port: str = ":{port}"
    """What follows the host in the Host header; ``{port}`` is the gateway's."""

    def encoded(self, port: int) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if self.host is not None:
            lines.append(f"Host: {self.host}{self.port.format(port=port)}")
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        lines.append("Connection: close") if not self.has("Connection") else None
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.body

    def has(self, name: str) -> bool:
        return any(key.lower() == name.lower() for key, _ in self.headers)


@dataclass(frozen=True)
class Seen:
    """A request as it reached an app."""

    app: str
    method: str
    target: str
    headers: Headers
    size: int
    """Bytes of its body."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True)
class Answer:
    """What the client got. Status 0: the connection was closed without an answer."""

    status: int
    headers: Headers = ()
    body: bytes = b""
    seen: list[Seen] = field(default_factory=list)
    """All that reached any app because of it."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]
