"""How a worker runs its handlers; one file a way."""
