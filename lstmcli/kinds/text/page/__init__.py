"""A text model as a web page that runs it alone: one file, no network."""
