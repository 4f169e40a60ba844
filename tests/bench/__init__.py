"""Benchmarks: farmhaul beside what its users have today, on the same servers in one run."""
