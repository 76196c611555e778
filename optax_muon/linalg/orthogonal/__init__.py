"""Polar factors by products: coefficient tables, iterations, normalisers, and exact factors to compare with."""
