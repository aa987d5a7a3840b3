"""The report of a comparison: one HTML file to decide from, Markdown to paste, JSON to compute with."""
