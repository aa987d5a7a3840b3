"""Bytes and sentences to what the towers take: one preprocessing path for training, evaluation and serving."""
