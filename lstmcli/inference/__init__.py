"""Answers from a trained model, for text and for series: decoding, evaluation, baselines."""
