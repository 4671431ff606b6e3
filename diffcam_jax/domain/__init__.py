"""Domains of one's own: from a folder of pictures to an editor, one command."""
