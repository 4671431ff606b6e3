"""The face in an aligned picture: which of its parts an edit may change."""
