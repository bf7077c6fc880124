"""Benchmarks: each prints times, and ratios to a reference in the same run. pytest runs none."""
