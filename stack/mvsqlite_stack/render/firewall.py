"""Who on a host may speak to the ports behind the gateway: rules for nftables.

Apps believe the headers that the gateway sets, so a program that reached one past the gateway could name
itself anybody there. Packets on loopback are let through by the user whose they are. What comes from other
machines is not looked at: where an app runs on a host of its own, that host's firewall is its owner's.
"""

import json

from mvsqlite_stack.model import Stack
from mvsqlite_stack.render import status
from mvsqlite_stack.render.apps import unit
from mvsqlite_stack.render.layout import Layout
from mvsqlite_stack.render.systemd import CLOSED
from mvsqlite_stack.render.users import GATEWAY

TABLE = "mvstack"
NFT = "/usr/sbin/nft"
UNIT = "mvstack-firewall.service"
FILE = "firewall/loopback.nft"


def rules(stack: Stack, host: str) -> str | None:
    """loopback.nft, without its first line; None where there is nothing to guard."""
    guarded = _guarded(stack, host)
    if not guarded:
        return None
    chain = "\n".join(f"        {_rule(port, who)}" for port, who in sorted(guarded.items()))
    return (
        "# Made before it is removed, so that it is there. Before a container's port is translated.\n"
        f"table inet {TABLE}\ndelete table inet {TABLE}\n"
        f"table inet {TABLE} {{\n    chain loopback {{\n"
        "        type filter hook output priority mangle; policy accept;\n"
        f"{chain}\n    }}\n}}\n"
    )


def _rule(port: int, who: list[str]) -> str:
    users = ", ".join(["0", *map(json.dumps, who)])
    return f'oifname "lo" tcp dport {port} meta skuid != {{ {users} }} reject with tcp reset'


def _guarded(stack: Stack, host: str) -> dict[int, list[str]]:
    """Ports, and the users beside root who may speak to them."""
    found: dict[int, list[str]] = {}
    if not stack.limits.loopback:
        return found
    visitors: list[str] = []
    if host == stack.gateway_host:
        visitors = [GATEWAY, *([status.USER] if stack.status.enabled else [])]
        found[stack.ports.sign_in] = visitors
        if stack.status.enabled:
            found[stack.ports.status_page] = visitors
    for name, app in stack.apps.items():
        if app.on == host and app.network == "own":  # one with the host's network has no user that we know
            found[app.port] = [*visitors, *([unit(name)] if app.command else [])]
    return found


def service(stack: Stack, layout: Layout) -> str:
    """The unit that puts them in force, without its first line. Where the kernel has none, it says so."""
    load = f"{NFT} -f {layout.settings}/{FILE}"
    open_ = "programs of this host can reach apps past the gateway"
    command = f"/bin/sh -c '{load} || echo \"<4>no rules are in force: {open_}\" >&2'"
    return (
        f"[Unit]\nDescription=Loopback of {stack.domain}\nBefore=network.target\n"
        "# Its start and its end remove all rules.\nAfter=nftables.service\nPartOf=nftables.service\n\n"
        f"[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart={command}\nExecReload={command}\n"
        f"ExecStop=-{NFT} delete table inet {TABLE}\n"
        f"{CLOSED}RestrictAddressFamilies=AF_NETLINK\nCapabilityBoundingSet=CAP_NET_ADMIN\n"
        "\n[Install]\nWantedBy=multi-user.target\n"
    )
