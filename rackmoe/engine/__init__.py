"""The clock: processes and resources on SimPy."""
