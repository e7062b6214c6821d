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

return function()
  -- The jwt plugin has checked signature, key and time of this token; without one nobody comes here.
  local token = kong.ctx.shared.authenticated_jwt_token
  clear_forged()
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
  kong.service.request.set_header("X-Auth-User", user)
end
