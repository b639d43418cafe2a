"""Forecasting, and evaluating forecasts beside what costs nothing."""
