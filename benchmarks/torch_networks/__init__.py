"""The networks in plain torch.nn, written for the comparison from the papers.

Eager, NCHW, as a torch user would write them.
"""
