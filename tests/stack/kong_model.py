"""Kong 3.9 as far as our declarations need it: routing, the plugins they name, and their Lua, run for real.

It follows what was observed of a running Kong, its traps included, so that a declaration which a trap would
catch is caught here too. It cannot show Kong itself: the same attacks run against a real one where given.
"""

import base64
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import yaml
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from exchange import Answer, Request, Seen
from kong_lua import Exit, Functions

PRIORITY = {
    "pre-function": 1_000_000,
    "jwt": 1450,
    "request-size-limiting": 951,
    "request-transformer": 801,
    "response-transformer": 800,
    "post-function": -1000,
}
HEADERS_SEEN = 100
"""Of a request's headers Kong's plugins see so many."""
TOP_LEVEL = {"_format_version", "services", "consumers", "_transform", "_comment"}
JWT_CONFIG = {
    "uri_param_names": ["jwt"],
    "header_names": ["authorization"],
    "cookie_names": [],
    "key_claim_name": "iss",
    "secret_is_base64": False,
    "claims_to_verify": [],
    "anonymous": None,
    "run_on_preflight": True,
    "maximum_expiration": 0,
    "realm": None,
}


Verify = Callable[[dict[str, str]], tuple[int, dict[str, str]]]
"""The sign-in service's answer to a question with these headers."""


@dataclass
class Exchange:
    """A request on its way through the plugins."""

    request: Request
    path: str
    verify: Verify
    headers: list[tuple[str, str]]
    token: str | None = None
    status: int = 200
    response: list[tuple[str, str]] = field(default_factory=list)
    shared: Any = None
    """What the functions keep for each other: a table of Lua's."""
    variables: Any = None
    """Those of the nginx inside Kong, likewise."""

    def variable(self, name: str, usual: str) -> str:
        """What a function has made of a variable, or what it usually is."""
        value = self.variables[name] if self.variables is not None else None
        return usual if value is None else str(value)

    def values(self, name: str, limit: int | None = None) -> list[str]:
        return [value for key, value in self.headers[:limit] if key.lower() == name.lower()]

    def clear(self, name: str) -> None:
        self.headers = [one for one in self.headers if one[0].lower() != name.lower()]

    def set(self, name: str, value: str) -> None:
        self.clear(name)
        self.headers.append((name, value))


class KongModel:
    """Answers requests by the declarations alone; every app answers 200."""

    name = "kong's declarations"

    def __init__(self, text: str, largest_header: int, port: int, verify: Verify) -> None:
        self._verify = verify
        self.data: dict[str, Any] = yaml.safe_load(text)
        assert isinstance(self.data["_format_version"], str), "Kong refuses a number"
        assert set(self.data) <= TOP_LEVEL, "Kong refuses other keys"
        self._largest, self._port = largest_header, port
        self._keys = self._credentials()
        self._functions = Functions()
        self.routes = [(service, route) for service in self.data["services"] for route in service["routes"]]

    def _credentials(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for consumer in self.data["consumers"]:
            for one in consumer["jwt_secrets"]:
                assert set(one) <= {
                    "key",
                    "secret",
                    "algorithm",
                    "rsa_public_key",
                    "tags",
                    "id",
                    "created_at",
                }
                assert one["key"]
                assert one["key"] not in found, "keys are unique"
                found[one["key"]] = one
        return found

    # ---- routing ---------------------------------------------------------------

    def match(
        self, host: str, path: str, protocol: str = "https"
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Service and route; hosts exactly, expressions before prefixes, longer before shorter."""
        found = []
        for service, route in self.routes:
            if host not in route["hosts"] or protocol not in route["protocols"]:
                continue
            for declared in route["paths"]:
                if declared.startswith("~"):
                    if re.match(declared[1:], path):
                        found.append((1, len(declared), service, route))
                elif path.startswith(declared):
                    found.append((0, len(declared), service, route))
        best = max(found, key=lambda one: one[:2], default=None)
        return best and (best[2], best[3])

    def ask(self, request: Request) -> Answer:
        early = self._refused_by_nginx(request)
        if early is not None:
            return Answer(early)
        target = re.sub(r"^https?://[^/?#]*", "", request.target) or "/"
        host = re.sub(r":\d+$", "", f"{request.host}{request.port.format(port=self._port)}")
        path, question, query = target.partition("?")
        normal = normalized(path.partition("#")[0])
        found = None if any("\udc80" <= char <= "\udcff" for char in normal) else self.match(host, normal)
        if found is None:
            return Answer(404)
        service, route = found
        assert route["preserve_host"] is True
        assert route["strip_path"] is False
        plain = [one for one in request.headers if "_" not in one[0]]
        exchange = Exchange(request, path, self._verify, plain)
        usual = {"upstream_uri": escaped(normal), "upstream_host": f"{host}:{self._port}"}
        return self._through(exchange, service, route, usual, question + query)

    def _refused_by_nginx(self, request: Request) -> int | None:
        lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{a}: {b}" for a, b in request.headers)]
        if len(lines[0]) > self._largest:
            return 414
        too_long = any(len(line) > self._largest for line in lines) or len("".join(lines)) > 4 * self._largest
        if too_long or is_malformed(request) or leaves_root(request.target.partition("?")[0]):
            return 400
        return 405 if request.method == "TRACE" else None

    # ---- plugins ---------------------------------------------------------------

    def _through(
        self,
        exchange: Exchange,
        service: dict[str, Any],
        route: dict[str, Any],
        usual: dict[str, str],
        query: str,
    ) -> Answer:
        plugins = sorted(route["plugins"], key=lambda one: -PRIORITY[one["name"]])
        source = "service"
        for plugin in plugins:
            try:
                self._access(plugin["name"], plugin["config"], exchange)
            except Exit as refused:
                exchange.status, source = refused.status, "exit"
                break
        seen = []
        if source == "service":
            app = service["name"].removeprefix("app-")
            target = exchange.variable("upstream_uri", usual["upstream_uri"]) + query
            self._said_by_kong(exchange, usual)
            size = len(exchange.request.body)
            seen = [Seen(app, exchange.request.method, target, tuple(exchange.headers), size)]
        for plugin in plugins:
            self._header_filter(plugin["name"], plugin["config"], exchange, source)
        return Answer(exchange.status, tuple(exchange.response), b"", seen)

    def _said_by_kong(self, exchange: Exchange, usual: dict[str, str]) -> None:
        before = exchange.values("X-Forwarded-For")
        exchange.set("Host", exchange.variable("upstream_host", usual["upstream_host"]))
        exchange.set(
            "X-Forwarded-For",
            exchange.variable("upstream_x_forwarded_for", ", ".join([*before, "127.0.0.1"])),
        )
        exchange.set("X-Forwarded-Host", exchange.variable("upstream_x_forwarded_host", "without a port"))

    def _access(self, name: str, config: dict[str, Any], exchange: Exchange) -> None:
        if name == "jwt":
            self._jwt({**JWT_CONFIG, **config}, exchange)
        elif name == "request-size-limiting":
            assert config["size_unit"] == "megabytes"
            if len(exchange.request.body) > config["allowed_payload_size"] * 2**20:
                raise Exit(413)
        elif name == "request-transformer":
            visible = {key.lower() for key, _ in exchange.headers[:HEADERS_SEEN]}
            for header in config["remove"]["headers"]:
                if header.lower() in visible:
                    exchange.clear(header)
        elif name in ("pre-function", "post-function"):
            for source in config.get("access", []):
                self._functions.run(source, exchange)

    def _header_filter(self, name: str, config: dict[str, Any], exchange: Exchange, source: str) -> None:
        if name == "response-transformer":
            there = {key.lower() for key, _ in exchange.response}
            pairs = [header.partition(":") for header in config["add"]["headers"]]
            exchange.response += [(key, value) for key, _, value in pairs if key.lower() not in there]
        elif name in ("pre-function", "post-function"):
            for text in config.get("header_filter", []):
                self._functions.run(text, exchange, source)

    def _jwt(self, config: dict[str, Any], exchange: Exchange) -> None:
        assert set(config) == set(JWT_CONFIG), "Kong refuses other settings"
        assert config["anonymous"] is None, "who is not signed in is nobody"
        if exchange.request.method == "OPTIONS" and not config["run_on_preflight"]:
            return
        token = self._token(config, exchange)
        if not token:
            raise Exit(401)
        head, claims, signature, signed = _decoded(token)
        if not isinstance(claims, dict):
            raise Exit(500)
        issuer = claims.get(config["key_claim_name"]) or head.get(config["key_claim_name"])
        if issuer is not None and not isinstance(issuer, str):
            raise Exit(500)
        credential = self._keys.get(issuer or "")
        if credential is None or head.get("alg") != credential.get("algorithm", "HS256"):
            raise Exit(401)
        _check_signature(credential, signature, signed)
        for claim in config["claims_to_verify"]:
            value = claims.get(claim)
            is_time = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_time or (value <= time.time() if claim == "exp" else value > time.time()):
                raise Exit(401)
        exchange.token = token

    def _token(self, config: dict[str, Any], exchange: Exchange) -> str | None:
        query = re.findall(r"[?&]([^=&]+)=([^&]*)", exchange.request.target)
        for name in config["uri_param_names"]:
            for key, value in query:
                if key == name:
                    return str(value)
        pairs = ";".join(exchange.values("Cookie")).split(";")
        for name in config["cookie_names"]:
            for pair in pairs:
                key, _, value = pair.strip().partition("=")
                if key.lower() == name.lower():
                    return value
        for name in config["header_names"]:
            for value in exchange.values(name):
                if found := re.search(r"\s*[Bb]earer\s+(.+)", value):
                    return found[1]
        return None


def _decoded(token: str) -> tuple[dict[str, Any], Any, bytes, bytes]:
    parts = token.split(".")
    try:
        head, claims = (json.loads(_unpacked(one)) for one in parts[:2])
        signature = _unpacked(parts[2])
    except (ValueError, IndexError):
        raise Exit(401) from None
    if len(parts) != 3 or not isinstance(head, dict) or not parts[2]:
        raise Exit(401)
    return head, claims, signature, ".".join(parts[:2]).encode()


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _check_signature(credential: dict[str, Any], signature: bytes, signed: bytes) -> None:
    assert credential["algorithm"] == "ES256"
    public = serialization.load_pem_public_key(credential["rsa_public_key"].encode())
    assert isinstance(public, ec.EllipticCurvePublicKey), "Kong would answer 500 to every request"
    if len(signature) != 64:
        raise Exit(500)
    r, s = (int.from_bytes(signature[i : i + 32], "big") for i in (0, 32))
    try:
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Exit(401) from None


def is_malformed(request: Request) -> bool:
    names = [name.lower() for name, _ in request.headers]
    return (
        request.host in (None, "")
        or "host" in names
        or names.count("content-length") > 1
        or ("transfer-encoding" in names and bool(request.body))
        or any("\n" in value or name != name.strip() for name, value in request.headers)
        or not request.target.startswith(("/", "http"))
        or not re.fullmatch(r"[A-Z_-]+", request.method)
    )


def leaves_root(path: str) -> bool:
    """Whether nginx refuses a path: for a zero byte, or for more steps up than down."""
    depth = 0
    for one in re.sub("/+", "/", unquote(path)).split("/")[1:]:
        depth += {"..": -1, ".": 0}.get(one, 1)
        if depth < 0:
            return True
    return "\0" in unquote(path)


def normalized(path: str) -> str:
    """As Kong's router sees a path: all decoded that is not reserved, slashes merged, dots resolved.

    What is no UTF-8 then stands as lone surrogates, as in Python's names of files.
    """

    def decode(found: re.Match[bytes]) -> bytes:
        char = bytes([int(found[1], 16)])
        return found[0].upper() if char in b"!*'();:@&=+$,/?%#[]" else char

    path = re.sub(rb"%([0-9A-Fa-f]{2})", decode, path.encode()).decode(errors="surrogateescape")
    out: list[str] = []
    parts = re.sub("/+", "/", path).split("/")[1:]
    for one in parts:
        if one == "..":
            out = out[:-1]
        elif one != ".":
            out.append(one)
    if parts and parts[-1] in (".", ".."):
        out.append("")
    return "/" + "/".join(out)


def escaped(path: str) -> str:
    """As Kong writes a path that it has normalized to an app."""
    return quote(path.encode(errors="surrogateescape"), safe="!#$&'()*+,/:;=?@[]-_.~%")
