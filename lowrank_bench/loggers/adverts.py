"""Lightning's tips for its own products, kept out of the log."""

import logging

SPEAKERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")
PRODUCTS = ("litlogger", "litmodels")


def is_wanted(line: logging.LogRecord) -> bool:
    return not any(product in line.getMessage() for product in PRODUCTS)


def silence() -> None:
    """Drop the adverts, and nothing else; harmless when called again."""
    for speaker in SPEAKERS:
        logging.getLogger(speaker).addFilter(is_wanted)
