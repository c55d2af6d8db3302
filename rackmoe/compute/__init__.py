"""How long an operator takes on a GPU."""
