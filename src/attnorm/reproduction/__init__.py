"""The paper's tables: which systems, which figures, and the commands that make them."""
