"""Which random numbers a part of the simulation draws."""

import numpy as np

from rackmoe.errors import ConfigError

__all__ = ["Streams"]


class Streams:
    """Independent random streams of one run, one for each name.

    A stream depends on the seed and on its own name only, so a part that is added
    or that draws more numbers moves no other part.

    Parameters
    ----------
    seed : int
        Zero or more.

    Raises
    ------
    ConfigError
        If the seed is negative or not a whole number.
    """

    __slots__ = ("_seed",)

    def __init__(self, seed: int) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ConfigError(
                f"seed: {seed!r}; expected a whole number of zero or more; choose one"
            )
        self._seed = int(seed)

    def __repr__(self) -> str:
        return f"Streams({self._seed})"

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self._seed

    def rng(self, name: str) -> np.random.Generator:
        """Return a new generator at the start of the named stream.

        Two calls with the same name give two generators that draw the same numbers:
        the state is not shared. A part therefore asks once and keeps its generator.

        Parameters
        ----------
        name : str
            The part that draws, for example ``arrivals`` or ``replica/3/routing``.

        Returns
        -------
        numpy.random.Generator
            PCG64 seeded by ``SeedSequence(seed, spawn_key=tuple(name.encode()))``.

        Raises
        ------
        ConfigError
            If the name is empty.

        Examples
        --------
        >>> streams = Streams(7)
        >>> first, again = streams.rng("arrivals"), streams.rng("arrivals")
        >>> bool(first.random() == again.random())
        True
        """
        if not name:
            raise ConfigError("stream name: ''; expected the name of a part; write one")
        sequence = np.random.SeedSequence(self._seed, spawn_key=tuple(name.encode()))
        return np.random.Generator(np.random.PCG64(sequence))
