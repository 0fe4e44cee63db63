"""One training loop; a task defines what one step is."""
