"""The tabs of the page, one a file: each makes a section of a comparison, or None where it has nothing to show."""
