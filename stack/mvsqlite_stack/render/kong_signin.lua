return function()
  check_connection()
  clear_forged()
  pass_on()
end
