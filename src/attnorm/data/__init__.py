"""Pictures in: folders, parquet files and the built-in sets."""
