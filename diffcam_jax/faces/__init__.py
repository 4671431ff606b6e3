"""Photographs and the faces in them: reading, finding, aligning, parsing, scoring."""
