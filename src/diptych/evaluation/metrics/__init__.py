"""Figures as pure functions of numpy arrays, one noun a file. What is a mean comes sample by sample, because intervals
and slices need the samples; what is not takes weights."""
