"""Clips: one change in every frame, without flicker, and every other pixel as it was.

opening, reading   what a file holds, and its frames one after the other
cuts, tracks       which face is where in every frame; scene cuts begin anew
pivot              one code and one tuned generator for all frames of a face
track_edit         the edit of a frame, with what its neighbours say
writing            parts that survive a kill, joined with the sound at the end
measures           how steady person, light and edit are
"""
