"""Tests with larger counts, in shards of at most two hours that go on where they were cut short."""
