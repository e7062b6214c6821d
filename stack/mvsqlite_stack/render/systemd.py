"""Units for systemd: each service with a user of its own, and no more of the system than it needs."""

from pathlib import PurePosixPath

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render import status
from mvsqlite_stack.render.layout import Layout

CLOSED = """\
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
"""


def units(stack: Stack, host: str, layout: Layout) -> dict[str, str]:
    """Text by file name, without the first lines."""
    found = {}
    if host == stack.gateway_host:
        found["mvstack-signin.service"] = _sign_in(stack, layout)
        found[f"mvstack-{stack.stack.gateway}.service"] = _gateway(stack, layout)
        if stack.status.enabled:
            found["mvstack-status.service"] = _status(stack, layout)
        if stack.tls.acme:
            found["mvstack-certificate.service"] = _certificate(stack)
            found["mvstack-certificate.timer"] = _CERTIFICATE_TIMER
    return found


def service(description: str, lines: list[str], *, capabilities: str = "") -> str:
    """A unit of a service that runs until it is stopped."""
    return (
        f"[Unit]\nDescription={description}\nAfter=network-online.target\nWants=network-online.target\n\n"
        "[Service]\n" + "\n".join(lines) + "\nRestart=on-failure\nRestartSec=2\n"
        f"{CLOSED}CapabilityBoundingSet={capabilities}\nAmbientCapabilities={capabilities}\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _sign_in(stack: Stack, layout: Layout) -> str:
    lines = [
        "User=mvstack",
        "Group=mvstack",
        # The certificate lies in there too, and the gateway has a user of its own.
        "StateDirectory=mvstack",
        "StateDirectoryMode=0711",
        f"Environment=MVSTACK_SIGNIN={layout.settings}/signin/signin.toml",
        f"ExecStart={layout.programs}/python -m mvsqlite_stack.signin",
    ]
    if directory := store_directory(stack.store.url):
        lines.append(f"ReadWritePaths=-{directory}")
    return service(f"Sign-in of {stack.domain}", lines)


def _status(stack: Stack, layout: Layout) -> str:
    """It answers strangers: of what other services keep, it sees the reports alone."""
    lines = [
        f"User={status.USER}",
        f"Group={status.USER}",
        f"StateDirectory={status.USER}",
        "StateDirectoryMode=0700",
        f"TemporaryFileSystem={layout.state}:ro,mode=0755",
        f"BindReadOnlyPaths=-{layout.reports}",
        "MemoryMax=512M",
        f"Environment=MVSTACK_STATUS={layout.settings}/status/status.toml",
        f"ExecStart={layout.programs}/python -m mvsqlite_stack.status",
    ]
    return service(f"Status page of {stack.domain}", lines)


def store_directory(url: str) -> str:
    """Where a store of this machine lies; nothing for another."""
    scheme, _, rest = url.partition(":")
    return rest.partition("?")[0] if scheme == "lmdb" else ""


def _gateway(stack: Stack, layout: Layout) -> str:
    lines = [
        "User=mvstack-gateway",
        "Group=mvstack-gateway",
        "StateDirectory=mvstack-gateway",
        "LimitNOFILE=8192",
    ]
    if stack.stack.gateway == "nginx":
        command = f"/usr/sbin/nginx -p {layout.gateway} -e stderr -c {layout.settings}/nginx/nginx.conf"
        lines += [
            f"ExecStartPre={command} -t -q",
            f"ExecStart={command}",
            "ExecReload=/bin/kill -HUP $MAINPID",
        ]
    else:
        command = f"/usr/local/bin/kong {{}} -c {layout.settings}/kong/kong.conf -p {layout.gateway}"
        lines += ["Environment=KONG_NGINX_DAEMON=off", f"ExecStart={command.format('start')}"]
        lines.append(f"ExecReload={command.format('reload')}")
        lines.append(f"ExecStop=/usr/local/bin/kong quit -p {layout.gateway} --timeout 5")
    return service(f"Gateway of {stack.domain}", lines, capabilities="CAP_NET_BIND_SERVICE")


def _certificate(stack: Stack) -> str:
    hosts = stack.public_hosts
    places = {str(PurePosixPath(one).parent) for one in (stack.tls.certificate, stack.tls.key)}
    unit = f"mvstack-{stack.stack.gateway}.service"
    install = "install -o root -g mvstack-gateway -m 0640"
    hook = (
        f"{install} $RENEWED_LINEAGE/fullchain.pem {stack.tls.certificate} && "
        f"{install} $RENEWED_LINEAGE/privkey.pem {stack.tls.key} && systemctl try-reload-or-restart {unit}"
    )
    command = (
        "/usr/bin/certbot certonly --non-interactive --agree-tos --keep-until-expiring --expand "
        f"--email {stack.tls.acme} --cert-name mvstack --standalone --http-01-address 127.0.0.1 "
        f"--http-01-port {stack.ports.certificates} {' '.join(f'-d {host}' for host in hosts)} "
        f"--deploy-hook '{hook}'"
    )
    return (
        f"[Unit]\nDescription=Certificate of {stack.domain}\nAfter=network-online.target\n"
        f"Wants=network-online.target\n\n[Service]\nType=oneshot\nExecStart={command.replace('$', '$$')}\n"
        f"{CLOSED}CapabilityBoundingSet=CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE\n"
        "ConfigurationDirectory=letsencrypt\nStateDirectory=letsencrypt\nStateDirectoryMode=0700\n"
        "LogsDirectory=letsencrypt\nLogsDirectoryMode=0700\n"
        f"ReadWritePaths={' '.join(sorted(places))}\n"
    )


_CERTIFICATE_TIMER = """\
[Unit]
Description=Renew the certificate

[Timer]
OnCalendar=*-*-* 03,15:17
RandomizedDelaySec=1h
Persistent=yes

[Install]
WantedBy=timers.target
"""
