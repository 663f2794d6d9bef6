"""The ways a run may end early that are nobody's bug."""


class ConfigError(ValueError):
    """A user's mistake: one line that names the key, the value and what would be right.

    The command line prints it without a traceback and exits with code 2.
    """


class Diverged(ArithmeticError):  # noqa: N818  (a result, not an error)
    """The training loss became NaN or infinite: a result, not a crash."""

    def __init__(self, update: int, loss: float) -> None:
        super().__init__(f"the training loss became {loss} at update {update}")
        self.update = update


class BaseFailed(RuntimeError):  # noqa: N818
    """The base that a run was to begin with could not be trained."""
