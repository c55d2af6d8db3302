"""Routing traces that serving engines and research tools wrote, read without running any of them."""
