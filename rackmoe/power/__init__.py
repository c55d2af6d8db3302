"""How many watts a part draws."""
