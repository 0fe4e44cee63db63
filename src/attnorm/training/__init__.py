"""One loop for every task; a task says what one step is."""
