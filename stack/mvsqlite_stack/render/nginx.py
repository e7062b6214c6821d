"""The gateway as a complete configuration for nginx 1.22 or later, with nothing but what Debian builds in.

Every request to a private app is asked about at the sign-in service (``auth_request``), which knows tokens,
sessions and permissions. What may be seen without is decided by the address as the client wrote it, for
that is what the app gets. Paths in the file are relative to the prefix that nginx is started with (``-p``).
"""

from collections.abc import Iterable

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render.identity import COOKIE, FORGED, IDENTITY, SECURITY
from mvsqlite_stack.render.public import pattern

VERIFY = "/.mvstack-verify"
HOST_HEADER = "X-Forwarded-Host"
"""Tells the sign-in service which host is asked for; it then knows the way back too."""
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


def configuration(stack: Stack) -> str:
    """nginx.conf, without its first line."""
    servers = [_nowhere(stack), _plain_http(stack), _sign_in(stack)]
    servers += [_status(stack)] if stack.status.enabled else []
    servers += [_app(stack, name) for name in stack.apps]
    return "\n".join([_main(), _block("http", [*_http(stack), *"\n".join(servers).splitlines()])])


def _service(stack: Stack) -> str:
    return f"127.0.0.1:{stack.ports.sign_in}"


def _block(head: str, lines: Iterable[str]) -> str:
    body = "\n".join(f"    {line}" if line else "" for line in lines)
    return f"{head} {{\n{body}\n}}"


def _main() -> str:
    return "\n".join(
        [
            "worker_processes auto;",
            "worker_rlimit_nofile 8192;",
            "daemon off;",
            "pid nginx.pid;",
            "error_log stderr notice;",
            _block("events", ["worker_connections 4096;"]),
        ]
    )


def _http(stack: Stack) -> list[str]:
    limits = stack.limits
    lines = [
        "include /etc/nginx/mime.types;",
        "default_type application/octet-stream;",
        "access_log off;",
        "server_tokens off;",
        *(f"{name}_temp_path {name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        f"client_header_timeout {limits.header_seconds}s;",
        f"client_body_timeout {limits.body_seconds}s;",
        f"send_timeout {limits.body_seconds}s;",
        "keepalive_timeout 75s;",
        "client_header_buffer_size 1k;",
        f"large_client_header_buffers 4 {limits.header_kilobytes}k;",
        "# Names with underscores are dropped: apps that know headers as CGI variables read them as hyphens.",
        "underscores_in_headers off;",
        "ignore_invalid_headers on;",
        "merge_slashes off;",
        "absolute_redirect off;",
        "server_names_hash_bucket_size 512;",
        "map_hash_bucket_size 512;",
        "variables_hash_bucket_size 512;",
        "limit_conn_zone $binary_remote_addr zone=connections:2m;",
        f"limit_conn connections {limits.connections};",
        "limit_conn_status 429;",
        "limit_req_status 429;",
        _zone("signin", limits.sign_in_requests_per_second),
        *([_zone("status", stack.status.requests_per_second)] if stack.status.enabled else []),
        *(_zone(f"app-{name}", app.requests_per_second) for name, app in stack.apps.items()),
        f"ssl_certificate {stack.tls.certificate};",
        f"ssl_certificate_key {stack.tls.key};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        f"ssl_ciphers {CIPHERS};",
        "ssl_prefer_server_ciphers off;",
        "ssl_session_cache shared:tls:2m;",
        "ssl_session_tickets off;",
        'map $http_upgrade $connection_upgrade { "" ""; default upgrade; }',
        "# Whoever asks for a WebSocket cannot follow a redirect.",
        'map $http_upgrade $accept_of_page { "" $http_accept; default ""; }',
        *_cookie_maps(),
        *(line for name, value in SECURITY.items() for line in _header_map(name, value)),
    ]
    for name, app in stack.apps.items():
        if app.public_paths:
            lines += _public_map(name, app.public_paths)
    return lines


def _zone(name: str, per_second: int) -> str:
    return f"limit_req_zone $binary_remote_addr zone={name}:2m rate={per_second}r/s;"


def _cookie_maps() -> list[str]:
    """The request's cookies without the session's: taken out twice; if one is left, all are dropped."""
    lines, source = [], "$http_cookie"
    name = rf"\s*{COOKIE}\s*=[^;]*"
    for n in (1, 2):
        cases = [
            rf'"~*^{name};?\s*$" "";',
            rf'"~*^{name};\s*(?<after{n}>.+)$" "$after{n}";',
            rf'"~*^(?<before{n}>.*?);{name};?\s*$" "$before{n}";',
            rf'"~*^(?<left{n}>.*?);{name};\s*(?<right{n}>.+)$" "$left{n}; $right{n}";',
            f"default {source};",
        ]
        lines += [f"map {source} $cookie_{n} {{", *(f"    {case}" for case in cases), "}"]
        source = f"$cookie_{n}"
    lines.append(
        rf'map {source} $cookie_for_app {{ "~*(?:^|;)\s*{COOKIE}\s*(?:=|;|$)" ""; default {source}; }}'
    )
    return lines


def _variable(header: str) -> str:
    return header.lower().replace("-", "_")


def _header_map(name: str, value: str) -> list[str]:
    """Our value where the app says nothing itself."""
    return [f'map $upstream_http_{_variable(name)} $add_{_variable(name)} {{ "" "{value}"; default ""; }}']


def _public_map(app: str, paths: tuple[str, ...]) -> list[str]:
    keys = [f'    "~^{pattern(path)}(?:\\?|$)" 1;' for path in paths]
    return [f"map $request_uri $public_{_identifier(app)} {{", "    default 0;", *keys, "}"]


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _listen(stack: Stack, port: int, options: str = "") -> list[str]:
    return [f"listen {address}:{port}{options};" for address in stack.ports.listen]


def _nowhere(stack: Stack) -> str:
    """Where requests for no host of ours end."""
    return _block(
        "server",
        [
            *_listen(stack, stack.ports.http, " default_server"),
            *_listen(stack, stack.ports.https, " ssl http2 default_server"),
            "server_name _;",
            "ssl_reject_handshake on;",
            "return 444;",
        ],
    )


def _plain_http(stack: Stack) -> str:
    hosts = stack.public_hosts
    port = "" if stack.ports.https == 443 else f":{stack.ports.https}"
    lines = [*_listen(stack, stack.ports.http), f"server_name {' '.join(hosts)};"]
    if stack.tls.acme:
        challenge = [
            f"proxy_pass http://127.0.0.1:{stack.ports.certificates};",
            "proxy_set_header Host $host;",
        ]
        lines += _block("location ^~ /.well-known/acme-challenge/", challenge).splitlines()
    lines += _block("location /", [f"return 308 https://$host{port}$request_uri;"]).splitlines()
    return _block("server", lines)


def _server(stack: Stack, host: str, zone: str, burst: int, megabytes: int, body: list[str]) -> str:
    lines = [
        *_listen(stack, stack.ports.https, " ssl http2"),
        f"server_name {host};",
        f"limit_req zone={zone} burst={burst} nodelay;",
        f"client_max_body_size {megabytes}m;",
        *(f"add_header {name} $add_{_variable(name)} always;" for name in SECURITY),
        *body,
    ]
    return _block("server", lines)


def _upstream(stack: Stack, address: str, host: str, cookie: str, idle_seconds: int) -> list[str]:
    """How a request is passed on: what we say about it, nothing that the client says in our place."""
    said = {
        **dict.fromkeys(FORGED, '""'),
        "Host": stack.authority(host),
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$remote_addr",
        "X-Forwarded-Host": stack.authority(host),
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Port": str(stack.ports.https),
        "X-Forwarded-Prefix": '""',
        "X-Forwarded-Uri": '""',
        "X-Forwarded-Method": '""',
        "Forwarded": '""',
        "Cookie": cookie,
        "Upgrade": "$http_upgrade",
        "Connection": "$connection_upgrade",
    }
    return [
        f"proxy_pass http://{address};",
        "proxy_http_version 1.1;",
        "proxy_request_buffering off;",
        "proxy_buffering off;",
        "proxy_hide_header X-Powered-By;",
        "# An app does not steer the gateway: what it asks for would be taken for what the client asked for.",
        "proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Charset;",
        f"proxy_read_timeout {idle_seconds}s;",
        f"proxy_send_timeout {idle_seconds}s;",
        "proxy_redirect off;",
        *(f"proxy_set_header {name} {value};" for name, value in said.items()),
    ]


def _sign_in(stack: Stack) -> str:
    passed = _upstream(stack, _service(stack), stack.sign_in_host, "$http_cookie", 60)
    burst = stack.limits.sign_in_requests_per_second * 2
    return _server(stack, stack.sign_in_host, "signin", burst, 1, _block("location /", passed).splitlines())


def _status(stack: Stack) -> str:
    """For everybody, and nothing of what a browser knows about its visitor goes there."""
    passed = _upstream(stack, f"127.0.0.1:{stack.ports.status_page}", stack.status_host, '""', 60)
    plain = {"Authorization": '""', "Upgrade": '""', "Connection": '""'}
    passed = [line for line in passed if not line.startswith(tuple(f"proxy_set_header {h} " for h in plain))]
    passed += [f"proxy_set_header {name} {value};" for name, value in plain.items()]
    burst = stack.status.requests_per_second * 2
    return _server(stack, stack.status_host, "status", burst, 1, _block("location /", passed).splitlines())


def _app(stack: Stack, name: str) -> str:
    app, host = stack.apps[name], stack.host_of(name)
    passed = _upstream(stack, stack.upstream(name), host, "$cookie_for_app", app.idle_seconds)
    body: list[str] = []
    if not app.public:
        variables = {header: f"$say_{_variable(header)}" for header in IDENTITY}
        passed = [
            line for line in passed if not line.startswith(tuple(f"proxy_set_header {h} " for h in IDENTITY))
        ]
        asked = [f"auth_request {VERIFY};", "auth_request_set $renewed $upstream_http_set_cookie;"]
        for header, variable in variables.items():
            asked.append(f"auth_request_set {variable} $upstream_http_{_variable(header)};")
            passed.append(f"proxy_set_header {header} {variable};")
        passed = [*asked, "error_page 401 = @signin;", *passed]
        body += ["add_header Set-Cookie $renewed always;", *_verify(stack, name), *_to_sign_in(stack, host)]
    body += _block("location /", passed).splitlines()
    return _server(stack, host, f"app-{name}", app.requests_per_second * 2, app.upload_megabytes, body)


def _question(stack: Stack, host: str) -> list[str]:
    """What the sign-in service is told, and no more: neither the body nor other headers."""
    return [
        f"proxy_pass http://{_service(stack)};",
        "proxy_http_version 1.1;",
        "proxy_connect_timeout 2s;",
        "proxy_read_timeout 10s;",
        "proxy_method GET;",
        "proxy_pass_request_body off;",
        "proxy_pass_request_headers off;",
        f"proxy_set_header Host {stack.authority(stack.sign_in_host)};",
        'proxy_set_header Content-Length "";',
        'proxy_set_header Connection "";',
        "proxy_set_header Cookie $http_cookie;",
        "proxy_set_header X-Forwarded-For $remote_addr;",
        "proxy_set_header X-Forwarded-Proto https;",
        f"proxy_set_header {HOST_HEADER} {stack.authority(host)};",
    ]


def _verify(stack: Stack, name: str) -> list[str]:
    lines = ["internal;", "rewrite ^ /verify? break;", *_question(stack, stack.host_of(name))]
    if stack.apps[name].public_paths:
        lines.insert(1, f"if ($public_{_identifier(name)}) {{ return 204; }}")
    return _block(f"location = {VERIFY}", lines).splitlines()


def _to_sign_in(stack: Stack, host: str) -> list[str]:
    """Without a session: browsers are sent to sign-in with their way back, programs get 401."""
    lines = [
        "rewrite ^ /verify? break;",
        *_question(stack, host),
        "proxy_set_header Accept $accept_of_page;",
        "proxy_set_header X-Forwarded-Method $request_method;",
        "proxy_set_header X-Forwarded-Uri $request_uri;",
        "proxy_redirect off;",
    ]
    return _block("location @signin", lines).splitlines()
