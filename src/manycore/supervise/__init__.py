"""Keeps workers alive: decided in `rules`, done in `supervisor`."""
