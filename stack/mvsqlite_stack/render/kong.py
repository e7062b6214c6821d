"""The gateway as declarations for Kong 3.9 without a database, and Kong's own settings.

The jwt plugin stands on every private route, never on a service or globally: there a public route
could not be taken out. It knows neither audiences nor redirects: short functions do that, in the pre- and
post-function plugins.
Where one of them fails, the answer is an error, and nothing private is served.
"""

from importlib.resources import files
from typing import Any

import yaml

from mvsqlite_stack.model import App, Stack
from mvsqlite_stack.render.identity import COOKIE, FORGED, SECURITY
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.public import pattern
from mvsqlite_stack.secrets import PublicKey

ACME_PATH = r"~/\.well-known/acme-challenge/[A-Za-z0-9_-]+$"
LINE_WIDTH = 4096

Entity = dict[str, Any]


def declarations(stack: Stack, keys: list[PublicKey]) -> str:
    """kong.yml, without its first line."""
    data = {
        "_format_version": "3.0",
        "services": [
            _sign_in(stack),
            *_status(stack),
            *(_app(stack, name) for name in stack.apps),
            *_acme(stack),
        ],
        "consumers": [{"username": "mvstack", "jwt_secrets": [_credential(key) for key in keys]}],
    }
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, width=LINE_WIDTH, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Functions as blocks of lines."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
_Dumper.ignore_aliases = lambda self, data: True  # type: ignore[method-assign]  # noqa: ARG005


def _credential(key: PublicKey) -> Entity:
    """Tokens name their key in ``iss``. Kong has the public key of any algorithm under this name."""
    return {"key": key.id, "algorithm": "ES256", "rsa_public_key": key.pem}


def _service(name: str, upstream: str, idle_seconds: int, routes: list[Entity]) -> Entity:
    return {
        "name": name,
        "url": f"http://{upstream}",
        "connect_timeout": 10_000,
        "read_timeout": idle_seconds * 1000,
        "write_timeout": idle_seconds * 1000,
        "retries": 0,
        "routes": routes,
    }


def _route(name: str, host: str, paths: list[str], plugins: list[Entity]) -> Entity:
    return {
        "name": name,
        "hosts": [host],
        "paths": paths,
        "protocols": ["https"],
        "https_redirect_status_code": 308,
        "strip_path": False,
        "preserve_host": True,
        "request_buffering": False,
        "response_buffering": False,
        "plugins": plugins,
    }


def _sign_in(stack: Stack) -> Entity:
    limits = _limits(stack.limits.sign_in_requests_per_second, 1)
    plugins = [*limits, _strip(), _security(), _function("post-function", "access", "signin")]
    route = _route("signin", stack.sign_in_host, ["/"], plugins)
    return _service("signin", f"127.0.0.1:{stack.ports.sign_in}", 60, [route])


def _status(stack: Stack) -> list[Entity]:
    """For everybody, and nothing of what a browser knows about its visitor goes there."""
    if not stack.status.enabled:
        return []
    limits = _limits(stack.status.requests_per_second, 1)
    plugins = [*limits, _strip("Cookie", "Authorization"), _security(), *_public(None)[2:]]
    route = _route("status", stack.status_host, ["/"], plugins)
    return [_service("status", f"127.0.0.1:{stack.ports.status_page}", 60, [route])]


def _app(stack: Stack, name: str) -> Entity:
    app, host = stack.apps[name], stack.host_of(name)
    limits = _limits(app.requests_per_second, app.upload_megabytes)
    routes = []
    if app.public:
        routes.append(_route(f"{name}-public", host, ["/"], [*limits, *_public(None)]))
    else:
        routes.append(_route(f"{name}-private", host, ["/"], [*limits, *_private(stack, name)]))
        routes += _public_routes(name, app, host, limits)
    return _service(f"app-{name}", stack.upstream(name), app.idle_seconds, routes)


def _public_routes(name: str, app: App, host: str, limits: list[Entity]) -> list[Entity]:
    found = []
    for number, path in enumerate(app.public_paths, 1):
        pcre = f"^{pattern(path)}$"
        found.append(
            _route(f"{name}-public-{number}", host, [f"~{pattern(path)}$"], [*limits, *_public(pcre)])
        )
    return found


def _private(stack: Stack, app: str) -> list[Entity]:
    here = f"https://{stack.authority(stack.host_of(app))}"
    sign_in = f"https://{stack.authority(stack.sign_in_host)}"
    return [
        _function("pre-function", "header_filter", "redirect", HERE=here, SIGN_IN=sign_in),
        _jwt(),
        _strip(),
        _security(),
        _function("post-function", "access", "private", APP=app),
    ]


def _public(path: str | None) -> list[Entity]:
    return [_strip(), _security(), _function("post-function", "access", "public", PATH=path)]


def _jwt() -> Entity:
    """The cookie only: Kong would take a token from the address and from Authorization too."""
    return {
        "name": "jwt",
        "config": {
            "uri_param_names": [],
            "header_names": [],
            "cookie_names": [COOKIE],
            "key_claim_name": "iss",
            "claims_to_verify": ["exp"],
            "secret_is_base64": False,
            "run_on_preflight": True,
        },
    }


def _limits(per_second: int, megabytes: int) -> list[Entity]:
    rate = {"second": per_second * 2, "minute": per_second * 60, "policy": "local", "limit_by": "ip"}
    size = {"allowed_payload_size": megabytes, "size_unit": "megabytes", "require_content_length": False}
    return [
        {"name": "rate-limiting", "config": {**rate, "hide_client_headers": True}},
        {"name": "request-size-limiting", "config": size},
    ]


def _strip(*more: str) -> Entity:
    return {"name": "request-transformer", "config": {"remove": {"headers": [*FORGED, *more]}}}


def _security() -> Entity:
    """Kong adds those that the app did not send."""
    headers = [f"{name}:{value}" for name, value in SECURITY.items()]
    removed = ["Server", "X-Powered-By"]
    return {
        "name": "response-transformer",
        "config": {"remove": {"headers": removed}, "add": {"headers": headers}},
    }


def _function(plugin: str, phase: str, name: str, **constants: str | None) -> Entity:
    """A function of ours; constants: plain text without quotes or backslashes, or patterns."""
    lines = [f"local {key} = {_lua(value)}" for key, value in constants.items()]
    if name != "redirect":
        forged = ", ".join(f'["{header.lower()}"] = true' for header in FORGED)
        lines += [f"local COOKIE = {_lua(COOKIE)}", f"local FORGED = {{ {forged} }}", _source("common")]
    return {"name": plugin, "config": {phase: ["\n".join([*lines, _source(name)])]}}


def _lua(value: str | None) -> str:
    if value is None:
        return "nil"
    if "]==]" in value or "\n" in value:
        raise ValueError(f"{value!r} cannot stand in a long bracket of Lua")
    return f"[==[{value}]==]"


def _source(name: str) -> str:
    return files(__package__).joinpath(f"kong_{name}.lua").read_text()


def _acme(stack: Stack) -> list[Entity]:
    """Answers to a certificate authority's challenges: by HTTP, without sign-in, nothing else."""
    if not stack.tls.acme:
        return []
    route = {
        "name": "acme",
        "hosts": stack.public_hosts,
        "paths": [ACME_PATH],
        "protocols": ["http"],
        "strip_path": False,
        "preserve_host": True,
        "plugins": [_strip()],
    }
    return [_service("acme", f"127.0.0.1:{stack.ports.certificates}", 60, [route])]


def settings(stack: Stack, layout: Layout) -> str:
    """kong.conf, without its first line."""
    limits, largest = stack.limits, max([1, *(app.upload_megabytes for app in stack.apps.values())])
    listen = [f"{address}:{stack.ports.http}" for address in stack.ports.listen]
    listen += [f"{address}:{stack.ports.https} http2 ssl" for address in stack.ports.listen]
    values = {
        "database": "off",
        "declarative_config": f"{layout.settings}/kong/kong.yml",
        "prefix": layout.gateway,
        "proxy_listen": ", ".join(listen),
        "admin_listen": "off",
        "admin_gui_listen": "off",
        "status_listen": f"127.0.0.1:{stack.ports.status}",
        "ssl_cert": stack.tls.certificate,
        "ssl_cert_key": stack.tls.key,
        "ssl_cipher_suite": "intermediate",
        "headers": "off",
        "trusted_ips": None,
        "untrusted_lua": "sandbox",
        "anonymous_reports": "off",
        "proxy_access_log": "off",
        "proxy_error_log": "/dev/stderr",
        "nginx_http_client_max_body_size": f"{largest}m",
        "nginx_proxy_large_client_header_buffers": f"4 {limits.header_kilobytes}k",
        "nginx_proxy_client_header_timeout": f"{limits.header_seconds}s",
        "nginx_proxy_client_body_timeout": f"{limits.body_seconds}s",
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items() if value is not None)
