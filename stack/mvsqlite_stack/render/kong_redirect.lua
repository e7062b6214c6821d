return function()
  local renewed = kong.ctx.shared.mvstack_renewed
  if renewed then kong.response.add_header("Set-Cookie", renewed) end
  if kong.response.get_source() == "service" then return end
  local status = kong.response.get_status()
  -- The jwt plugin answers 500 to some tokens that are none.
  if status == 500 and not kong.ctx.shared.authenticated_jwt_token then
    kong.response.set_status(401)
    status = 401
  end
  local accept = kong.request.get_header("Accept") or ""
  if status ~= 401 or kong.request.get_method() ~= "GET" or kong.request.get_header("Upgrade")
    or not string.find(accept, "text/html", 1, true) then
    return
  end
  kong.response.set_status(302)
  local here = "https://" .. HERE .. kong.request.get_path_with_query()
  kong.response.set_header("Location", "https://" .. SIGN_IN .. "/?to=" .. ngx.escape_uri(here))
  kong.response.set_header("Cache-Control", "no-store")
end
