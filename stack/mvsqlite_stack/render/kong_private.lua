local function payload_of(token)
  local part = string.match(token, "^[^.]+%.([^.]+)%.[^.]+$")
  if not part then return nil end
  part = string.gsub(string.gsub(part, "-", "+"), "_", "/")
  return ngx.decode_base64(part .. string.rep("=", -#part % 4))
end

local function only(payload, pattern)
  -- The one match of a claim. Its quotes are JSON's own: inside a string they would bear backslashes.
  local found, count = nil, 0
  for value in string.gmatch(payload, pattern) do
    found, count = value, count + 1
  end
  return count == 1 and found or nil
end

local function asked(token)
  -- What the sign-in service says of the token: it knows whether the session has ended since that was made.
  local connection = require("resty.http").new()
  connection:set_timeouts(2000, 10000, 10000)
  local answer, why = connection:request_uri(VERIFY, {
    keepalive = false,
    headers = {
      ["Host"] = SIGN_IN,
      ["Cookie"] = COOKIE .. "=" .. token,
      ["X-Forwarded-Host"] = HERE,
      ["X-Forwarded-For"] = ngx.var.remote_addr,
      ["X-Forwarded-Proto"] = "https",
    },
  })
  if not answer then kong.log.err("the sign-in service does not answer: ", why) end
  return answer or { status = 503, headers = {} }
end

local function say(name, value)
  if value then
    kong.service.request.set_header(name, value)
  else
    kong.service.request.clear_header(name)
  end
end

return function()
  -- The jwt plugin has checked signature, key and time of this token; without one nobody comes here.
  local token = kong.ctx.shared.authenticated_jwt_token
  check_connection()
  clear_forged()
  pass_on()
  local cookies = without_session()
  if type(token) ~= "string" or cookies ~= 1 then
    return kong.response.exit(401, { message = "Unauthorized" })
  end
  local payload = payload_of(token) or ""
  local apps = only(payload, '[{,]%s*"aud"%s*:%s*(%b[])') or ""
  local user = only(payload, '[{,]%s*"sub"%s*:%s*"([a-z0-9._-]+)"')
  if not user or not string.find(apps, '"' .. APP .. '"', 1, true) then
    return kong.response.exit(403, { message = "Forbidden" })
  end
  local answer = asked(token)
  if answer.status == 401 or answer.status == 403 then
    return kong.response.exit(answer.status, { message = answer.status == 401 and "Unauthorized" or "Forbidden" })
  end
  if answer.status ~= 204 or answer.headers["X-Auth-User"] ~= user then
    return kong.response.exit(503, { message = "Sign-in is not available" })
  end
  say("X-Auth-User", user)
  say("X-Auth-Name", answer.headers["X-Auth-Name"])
  say("X-Auth-Groups", answer.headers["X-Auth-Groups"])
  kong.ctx.shared.mvstack_renewed = answer.headers["Set-Cookie"]
end
