"""Losses of training and of inversion."""
