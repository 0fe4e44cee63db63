"""The paper's tables: systems, metrics, and the commands that reproduce them."""
