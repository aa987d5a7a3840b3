"""Towers, their configurations, and the torch Embedder. torch lives here, in losses and in training only."""
