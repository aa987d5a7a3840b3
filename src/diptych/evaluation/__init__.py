"""Metrics and tasks over the Embedder protocol and numpy. No torch."""
