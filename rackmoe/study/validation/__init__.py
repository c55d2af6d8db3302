"""How far the laws are from measured points."""
