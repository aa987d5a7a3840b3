"""Recipes: functions that return a whole configuration, and the composition that runs it."""
