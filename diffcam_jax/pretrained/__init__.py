"""The pretrained parts: their table, the store that keeps them, and the networks they hold."""
