"""Samples of what a released version leaves behind, which later ones must be able to read."""
