"""Measures of pictures and of sets of pictures.

Pictures are NHWC RGB of 0..255 here, as measures are published for 8-bit pictures; they need not be whole numbers.
"""
