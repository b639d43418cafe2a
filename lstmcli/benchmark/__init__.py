"""This tool against plain PyTorch: same shapes, same machine, side by side."""
