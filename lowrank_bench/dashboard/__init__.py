"""Weights & Biases beyond logging: sweeps, views as code, and records back from what was logged."""
