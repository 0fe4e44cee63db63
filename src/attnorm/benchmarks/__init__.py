"""What things cost on this machine: one command each, contestants in turn, ratios from one run."""
