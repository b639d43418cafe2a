"""Answers from a trained model: decoding, sampling and generating text, evaluating, baselines."""
