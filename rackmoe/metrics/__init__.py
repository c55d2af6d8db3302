"""Records of a run turned into DataFrames and figures of merit."""
