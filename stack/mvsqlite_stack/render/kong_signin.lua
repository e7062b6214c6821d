return function()
  clear_forged()
end
