"""Faces of the operation registry."""
