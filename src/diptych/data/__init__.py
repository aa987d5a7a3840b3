"""Where pairs come from: folders and tables, the bundled corpus, and what training makes of them."""
