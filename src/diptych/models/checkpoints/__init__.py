"""Published weights: where they come from, their layouts, and the maps between those layouts and our towers."""
