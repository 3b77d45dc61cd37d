"""Pools: many tasks on a few processes, of which any may die at any moment."""
