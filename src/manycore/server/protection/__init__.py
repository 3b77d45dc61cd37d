"""What keeps a server from being worn out: by clients, by its own workers' age, by the machine."""
