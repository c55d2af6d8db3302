"""How a serving engine at a date computes it: fitted constants and defaults."""
