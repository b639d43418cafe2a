"""How a model learns. `loop.py` reads top to bottom; `state.py` is all that a resume needs."""
