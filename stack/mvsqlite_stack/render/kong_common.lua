local CONNECTION = { [""] = true, ["keep-alive"] = true, close = true, upgrade = true, te = true,
  trailer = true, ["http2-settings"] = true }

local function check_connection()
  -- When all plugins are done, Kong drops every header that the client names as its connection's: the identity
  -- that we set, or the body's length. It has read the names before any plugin could change them.
  local named = ngx.req.get_headers(0)["connection"] or ""
  if type(named) == "table" then named = table.concat(named, ",") end
  for name in string.gmatch(string.lower(named), "[^,]+") do
    if not CONNECTION[string.match(name, "^%s*(.-)%s*$")] then
      return kong.response.exit(400, { message = "Bad request" })
    end
  end
end

local function clear_forged()
  -- Apps that know headers as CGI variables read X_Auth_User as X-Auth-User.
  -- 0: all of them, for what is beyond Kong's usual hundred reaches the app too.
  for name in pairs(ngx.req.get_headers(0, true)) do
    if FORGED[string.gsub(string.lower(name), "_", "-")] then
      kong.service.request.clear_header(name)
    end
  end
end

local function pass_on()
  -- Kong would put the client's own X-Forwarded-For before the address that it sees, pass on a Host with any
  -- port, and write the path anew.
  ngx.var.upstream_x_forwarded_for = ngx.var.remote_addr
  ngx.var.upstream_x_forwarded_host = HERE
  ngx.var.upstream_host = HERE
  ngx.var.upstream_uri = kong.request.get_raw_path()
end

local function without_session()
  -- Takes the session's cookies out of the request; how many there were.
  local sent = ngx.req.get_headers(0)["cookie"]
  if not sent then return 0 end
  if type(sent) == "table" then sent = table.concat(sent, "; ") end
  local kept, taken = {}, 0
  for pair in string.gmatch(sent, "[^;]+") do
    local name = string.match(pair, "^%s*([^=]*)")
    name = string.lower(string.gsub(name, "%s+$", ""))
    if name == COOKIE then
      taken = taken + 1
    else
      kept[#kept + 1] = string.match(pair, "^%s*(.-)%s*$")
    end
  end
  if #kept > 0 then
    kong.service.request.set_header("Cookie", table.concat(kept, "; "))
  else
    kong.service.request.clear_header("Cookie")
  end
  return taken
end
