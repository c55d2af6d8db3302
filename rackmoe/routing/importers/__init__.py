"""Routing traces that serving engines and research tools wrote, read without any of them."""
