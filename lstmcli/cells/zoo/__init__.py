"""The equations of the built-in cells, one file per family."""
