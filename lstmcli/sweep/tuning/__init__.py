"""Search: better settings for a config, on a budget of minutes."""
