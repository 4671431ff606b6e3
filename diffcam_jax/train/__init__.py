"""Trainers: a pure step for each, and the loop around it."""
