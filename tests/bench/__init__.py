"""Benches: they print ratios against a yardstick of the same run; no part of the tests."""
