"""A cell over time (recurrence), over depth (stack), and between its ends (text)."""
