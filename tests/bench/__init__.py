"""Benchmarks: farmhaul and the tools that its users have today, on the same servers in one run."""
