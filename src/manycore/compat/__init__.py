"""Faces of other libraries over this one, so that an existing program changes one import."""
