"""The gateway as declarations for Kong 3.9 without a database, and Kong's own settings.

The jwt plugin stands on every private route, never on a service or globally: there a public route
could not be taken out. It knows neither audiences nor redirects nor sessions that have ended: short
functions, in the pre- and post-function plugins, see to that, and ask the sign-in service about each private
request.
Where one of them fails, the answer is an error, and nothing private is served.
"""

from importlib.resources import files
from typing import Any

import yaml

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.identity import COOKIE, FORGED, SECURITY
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.public import pattern, routed
from mvsqlite_stack.secrets import PublicKey

ACME_PATH = r"~/\.well-known/acme-challenge/[A-Za-z0-9_-]+$"
LINE_WIDTH = 4096
PLUGINS = (
    "jwt",
    "post-function",
    "pre-function",
    "request-size-limiting",
    "request-transformer",
    "response-transformer",
)
"""All that the declarations use; Kong loads no others."""
ELSEWHERE = ("Forwarded", "X-Forwarded-Uri", "X-Forwarded-Method")
"""What a gateway says of where a request came from and Kong does not."""

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
    here = stack.authority(stack.sign_in_host)
    plugins = [_size(1), _strip(), _security(), _function("post-function", "access", "signin", HERE=here)]
    route = _route("signin", stack.sign_in_host, ["/"], plugins)
    return _service("signin", f"127.0.0.1:{stack.ports.sign_in}", 60, [route])


def _status(stack: Stack) -> list[Entity]:
    """For everybody, and nothing of what a browser knows about its visitor goes there."""
    if not stack.status.enabled:
        return []
    here = stack.authority(stack.status_host)
    plugins = [_size(1), _strip(), _security(), _function("post-function", "access", "status", HERE=here)]
    route = _route("status", stack.status_host, ["/"], plugins)
    return [_service("status", f"127.0.0.1:{stack.ports.status_page}", 60, [route])]


def _app(stack: Stack, name: str) -> Entity:
    app, host = stack.apps[name], stack.host_of(name)
    routes = []
    if app.public:
        public = [_size(app.upload_megabytes), *_public(stack, name, None)]
        routes.append(_route(f"{name}-public", host, ["/"], public))
    else:
        private = [_size(app.upload_megabytes), *_private(stack, name)]
        routes += [_route(f"{name}-private", host, ["/"], private), *_public_routes(stack, name)]
    return _service(f"app-{name}", stack.upstream(name), app.idle_seconds, routes)


def _public_routes(stack: Stack, name: str) -> list[Entity]:
    app, host, found = stack.apps[name], stack.host_of(name), []
    for number, path in enumerate(app.public_paths, 1):
        plugins = [_size(app.upload_megabytes), *_public(stack, name, f"^{pattern(path)}$")]
        found.append(_route(f"{name}-public-{number}", host, [f"~{routed(path)}$"], plugins))
    return found


def _private(stack: Stack, app: str) -> list[Entity]:
    known = {"HERE": stack.authority(stack.host_of(app)), "SIGN_IN": stack.authority(stack.sign_in_host)}
    verify = f"http://127.0.0.1:{stack.ports.sign_in}/verify"
    return [
        _function("pre-function", "header_filter", "redirect", **known),
        _jwt(),
        _strip(),
        _security(),
        _function("post-function", "access", "private", APP=app, VERIFY=verify, **known),
    ]


def _public(stack: Stack, app: str, path: str | None) -> list[Entity]:
    here = stack.authority(stack.host_of(app))
    return [_strip(), _security(), _function("post-function", "access", "public", PATH=path, HERE=here)]


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


def _size(megabytes: int) -> Entity:
    config = {"allowed_payload_size": megabytes, "size_unit": "megabytes", "require_content_length": False}
    return {"name": "request-size-limiting", "config": config}


def _strip() -> Entity:
    return {"name": "request-transformer", "config": {"remove": {"headers": list(FORGED)}}}


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
    if plugin == "post-function":
        forged = ", ".join(f'["{header.lower()}"] = true' for header in (*FORGED, *ELSEWHERE))
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


def limits(stack: Stack) -> str:
    """limits.conf, without its first line: what the nginx inside Kong is told.

    Kong's own plugin would count requests only after the jwt plugin has let them through.
    """
    lines = [
        "map_hash_bucket_size 512;",
        "limit_conn_zone $binary_remote_addr zone=mvstack_connections:2m;",
        f"limit_conn mvstack_connections {stack.limits.connections};",
        "limit_conn_status 429;",
        "limit_req_status 429;",
        f"send_timeout {stack.limits.body_seconds}s;",
        "# An app does not steer the gateway: what it asks for would be taken for what the client asked for.",
        "proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Charset;",
    ]
    lines += _rate("signin", stack.sign_in_host, stack.limits.sign_in_requests_per_second)
    if stack.status.enabled:
        lines += _rate("status", stack.status_host, stack.status.requests_per_second)
    for name, app in stack.apps.items():
        lines += _rate(f"app_{name}", stack.host_of(name), app.requests_per_second)
    return "".join(f"{line}\n" for line in lines)


def _rate(name: str, host: str, per_second: int) -> list[str]:
    """Counts the requests to one host, by address."""
    variable, zone = f"$mvstack_{name.replace('-', '_')}", f"mvstack_{name}"
    return [
        f'map $host {variable} {{ {host} $binary_remote_addr; default ""; }}',
        f"limit_req_zone {variable} zone={zone}:2m rate={per_second}r/s;",
        f"limit_req zone={zone} burst={per_second * 2} nodelay;",
    ]


def settings(stack: Stack, layout: Layout) -> str:
    """kong.conf, without its first line."""
    limit, largest = stack.limits, max([1, *(app.upload_megabytes for app in stack.apps.values())])
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
        "plugins": ", ".join(PLUGINS),
        "headers": "off",
        "trusted_ips": None,
        "untrusted_lua": "sandbox",
        "untrusted_lua_sandbox_requires": "resty.http",
        "anonymous_reports": "off",
        "proxy_access_log": "off",
        "proxy_error_log": "stderr",
        "status_access_log": "off",
        "status_error_log": "stderr",
        "nginx_http_include": f"{layout.settings}/kong/limits.conf",
        "nginx_http_client_max_body_size": f"{largest}m",
        "nginx_proxy_underscores_in_headers": "off",
        "nginx_proxy_large_client_header_buffers": f"4 {limit.header_kilobytes}k",
        "nginx_proxy_client_header_timeout": f"{limit.header_seconds}s",
        "nginx_proxy_client_body_timeout": f"{limit.body_seconds}s",
    }
    return "".join(f"{name} = {value}\n" for name, value in values.items() if value is not None)
