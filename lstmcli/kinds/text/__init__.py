"""Decoding and evaluating text."""
