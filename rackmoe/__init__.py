"""Rack-scale cluster simulator for mixture-of-experts inference."""

__version__ = "0.1.0"
