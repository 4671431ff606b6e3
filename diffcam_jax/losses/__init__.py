"""What networks are trained and codes are searched by."""
