"""The paper's tables: which systems, which metrics, and the commands that repeat them."""
