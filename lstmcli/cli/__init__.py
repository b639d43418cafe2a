"""One module per verb; `app.py` joins them and turns errors into exit codes."""
