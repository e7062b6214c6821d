return function()
  if PATH and not ngx.re.find(kong.request.get_raw_path(), PATH, "jo") then
    return kong.response.exit(401, { message = "Unauthorized" })
  end
  check_connection()
  clear_forged()
  pass_on()
  without_session()
end
