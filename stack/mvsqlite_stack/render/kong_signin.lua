return function()
  check_connection()
  clear_forged()
end
