"""To see a server run, and to tell it things while it does."""
