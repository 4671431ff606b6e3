"""Configurations of the trainers, for ml_collections' config_flags."""
