"""A trained model for others: a folder with its weights, sample pictures and a card that its run's records fill in."""
