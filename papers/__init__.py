"""Notes on the papers: equations, symbols, sources, and what we do otherwise."""
