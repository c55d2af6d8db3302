"""Which constants fit the measured tables."""
