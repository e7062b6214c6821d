return function()
  check_connection()
  clear_forged()
  pass_on()
  kong.service.request.clear_header("Cookie")
  kong.service.request.clear_header("Authorization")
  -- What Kong says itself to the page, whatever the client asked for.
  ngx.var.upstream_upgrade, ngx.var.upstream_connection = "", "keep-alive"
end
