"""Requests, KV memory and schedulers as plain state machines."""
