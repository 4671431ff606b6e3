"""Pictures for training: prepared, read from folders, drawn by generators, pasted and blended."""
