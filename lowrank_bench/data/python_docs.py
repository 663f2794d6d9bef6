"""The documentation topics that CPython brings along: real English, without a download."""

from functools import cache

from lowrank_bench.data.corpus import Texts
from lowrank_bench.errors import ConfigError


@cache
def read() -> Texts:
    """What `help("assert")` and its like print, a document a topic, in the topics' sorted order.

    Python 3.11 has 79 topics, 466117 bytes. Other versions have other texts, and so another
    checksum: a record made under one Python does not stand for a run under another.

    Source: the module pydoc_data.topics, made of the Python language reference (PSF licence).
    Raises: ConfigError where this Python comes without it.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise ConfigError(
            "data=python_docs: this Python comes without its module pydoc_data; choose another "
            "data set, or a Python with its whole standard library"
        ) from None
    return Texts("data=python_docs", tuple(topics[name] for name in sorted(topics)))
