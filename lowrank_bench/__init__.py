"""A benchmark of low-rank training that people can believe."""

__version__ = "0.1.0"
