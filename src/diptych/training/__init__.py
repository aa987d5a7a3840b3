"""The loop, its schedule, and checkpoints that resume exactly."""
