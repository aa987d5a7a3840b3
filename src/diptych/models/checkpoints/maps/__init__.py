"""Key maps between published layouts and our towers, both ways: one module a layout, or a tower in it."""
