"""How good answers about whole sequences are; classes of new ones."""
