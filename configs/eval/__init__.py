"""Configurations of evaluate.py."""
