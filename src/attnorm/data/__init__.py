"""Images in: folders, parquet files and the built-in sets; masks; images out of a completion."""
