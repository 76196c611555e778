"""Definitions of public models: how each is made and called, and the truth of its parameters.

Their code is not here: `measure` imports it from a folder of checkouts, one per project.
"""
