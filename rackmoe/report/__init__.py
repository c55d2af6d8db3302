"""DataFrames to text and figures."""
