"""Public sets by name: where they lie, how people keep them on disk, and how each becomes a data set."""
