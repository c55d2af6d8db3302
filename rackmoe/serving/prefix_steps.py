"""Which prompt blocks a step leaves for later requests."""

from rackmoe.serving.prefix_cache import PrefixCache
from rackmoe.serving.running import Finished
from rackmoe.serving.step_batch import PrefillChunk

__all__ = ["store_step"]


def store_step(
    cache: PrefixCache | None, *, chunks: tuple[PrefillChunk, ...], finished: Finished | None
) -> None:
    """Keep what a step computed for later requests with the same beginning.

    Parameters
    ----------
    cache : PrefixCache or None
        Where it is kept; nothing happens without one.
    chunks : tuple of PrefillChunk
        Prompt pieces that the step computed.
    finished : Finished or None
        Sequences that ended with it.
    """
    if cache is None:
        return
    for chunk in chunks:
        n_tokens = chunk.past_tokens + chunk.n_tokens
        cache.computed(chunk.request, n_tokens=n_tokens, is_complete=chunk.is_last)
    if finished is not None:
        contexts = finished.contexts.tolist()
        for request, n_tokens in zip(finished.requests.tolist(), contexts, strict=True):
            cache.leave(request, n_tokens=n_tokens)
