"""What a model does inside, as numbers: gates, memory and gradients, from a model and what it reads."""
