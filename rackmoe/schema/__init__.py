"""Strict YAML to frozen documents."""
