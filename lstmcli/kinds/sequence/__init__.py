"""Whole sequences that are answered: made by a task, or read from a table with labels."""
