"""How long bytes take over a fabric."""
