"""Fits the coefficients of the time of a step to measured serving points, and scores what is foreseen of them."""
