"""The functions in our declarations, run by LuaJIT in what Kong's sandbox gives them, and nothing more."""

import base64
import re
from typing import Any
from urllib.parse import quote

from lupa.luajit21 import LuaRuntime

BASE = """
_VERSION assert error ipairs next pairs pcall select tonumber tostring type unpack xpcall
string.byte string.char string.find string.format string.gmatch string.gsub string.len string.lower
string.match string.rep string.reverse string.sub string.upper
table.concat table.insert table.maxn table.remove table.sort
math.floor math.max math.min os.time
"""
"""Of the names that the sandbox has, those that one could want. There is no metatable, and ``require`` takes
what is allowed only."""

SANDBOX = """
function(names, kong, ngx, require)
  local env = { kong = kong, ngx = ngx, require = require }
  for module, name in string.gmatch(names, "([%w_]+)%.([%w_]+)") do
    env[module] = env[module] or {}
    env[module][name] = _G[module][name]
  end
  for name in string.gmatch(names, "%f[%w_.]([%w_]+)%f[^%w_.]") do
    if _G[name] and not env[name] then env[name] = _G[name] end
  end
  return function(source)
    local chunk = assert(loadstring(source))
    setfenv(chunk, env)
    local result = chunk()
    if type(result) == "function" then result() end
  end
end
"""


class Exit(Exception):
    """A plugin has answered instead of the app."""

    def __init__(self, status: int) -> None:
        self.status = status


class Functions:
    """Runs functions of the pre- and post-function plugins."""

    def __init__(self) -> None:
        self._lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
        self._sandbox = self._lua.eval(SANDBOX)

    def run(self, source: str, exchange: Any, answered_by: str = "") -> None:
        """One function; answered_by: where the answer came from, in the phase of its headers."""
        kong, ngx = self._kong(exchange, answered_by), self._ngx(exchange)
        self._sandbox(BASE, kong, ngx, lambda name: self._module(name, exchange))(source)

    def _module(self, name: str, exchange: Any) -> Any:
        """``resty.http``, which asks the sign-in service."""
        assert name == "resty.http", "the sandbox allows no other"

        def request(_: Any, uri: str, options: Any) -> Any:
            assert uri.endswith("/verify")
            try:
                status, headers = exchange.verify(dict(options["headers"].items()))
            except OSError as failed:
                return None, str(failed)
            return self._table({"status": status, "headers": headers})

        client = {"set_timeouts": lambda *_: None, "request_uri": request}
        return self._table({"new": lambda: self._table(client)})

    def _table(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._lua.table_from({key: self._table(inner) for key, inner in value.items()})
        return self._lua.table_from([self._table(one) for one in value]) if isinstance(value, list) else value

    def _variables(self, exchange: Any) -> Any:
        if exchange.variables is None:
            exchange.variables = self._table({"remote_addr": "127.0.0.1"})
        return exchange.variables

    def _shared(self, exchange: Any) -> Any:
        if exchange.shared is None:
            exchange.shared = self._lua.table()
        if exchange.token:
            exchange.shared["authenticated_jwt_token"] = exchange.token
        return exchange.shared

    def _kong(self, exchange: Any, answered_by: str) -> Any:
        def leave(status: int, *_: Any) -> None:
            raise Exit(status)

        def header(name: str) -> str | None:
            return next(iter(exchange.values(name)), None)

        def set_status(status: int) -> None:
            exchange.status = status

        return self._table(
            {
                "ctx": {"shared": self._shared(exchange)},
                "log": {"err": lambda *_: None},
                "request": {
                    "get_raw_path": lambda: exchange.path,
                    "get_path_with_query": lambda: exchange.request.target,
                    "get_method": lambda: exchange.request.method,
                    "get_header": header,
                },
                "service": {"request": {"clear_header": exchange.clear, "set_header": exchange.set}},
                "response": {
                    "exit": leave,
                    "get_source": lambda: answered_by,
                    "get_status": lambda: exchange.status,
                    "set_status": set_status,
                    "set_header": lambda name, value: exchange.response.append((name, value)),
                    "add_header": lambda name, value: exchange.response.append((name, value)),
                },
            }
        )

    def _ngx(self, exchange: Any) -> Any:
        def headers(limit: int = 100, raw: bool = False) -> Any:
            found: dict[str, Any] = {}
            for name, value in exchange.headers[: limit or None]:
                key = name if raw else name.lower()
                before = found.get(key)
                many = before if isinstance(before, list) else [before]
                found[key] = value if before is None else [*many, value]
            return self._table(found)

        def decode(text: str) -> str | None:
            try:
                return base64.b64decode(text, validate=True).decode("latin-1")
            except ValueError:
                return None

        def find(text: str, pattern: str, options: str) -> int | None:
            assert options == "jo"
            found = re.search(pattern, text)
            return found.start() + 1 if found else None

        return self._table(
            {
                "req": {"get_headers": headers},
                "var": self._variables(exchange),
                "decode_base64": decode,
                "escape_uri": lambda text: quote(text, safe="~-_.!'()*"),
                "re": {"find": find},
            }
        )
