"""Pure functions: arrays in, arrays out. No rank, logger or disk."""
