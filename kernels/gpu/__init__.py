"""Sparse products in Triton: gathers for few tokens, tiles that never expand for many."""
