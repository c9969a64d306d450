"""Exact search by matrix products on a GPU: the CPU scores its proposals exactly, so the result is the same."""

from typing import Any

import numpy as np

from hnmine.arrays.topk import NOTHING, keep_best, pack
from hnmine.errors import ConfigError
from hnmine.runtime.worker_slot import choose_device, current_slot
from hnmine.search.exact import LongestVector, Proposer, as_proposal
from hnmine.search.pair_scores import VectorBlocks
from hnmine.storage.vectors import Block

# The most scores held at a time: 1 GiB of float32.
_PAIRS = 1 << 28


class TorchProposer(Proposer):
    """Proposes by torch's matrix products and top-k, block by block; nothing can be missed.

    Blocks stay on the device (as torch names it) while at least half of its memory is free.

    Raises:
        ConfigError: torch cannot use the device.
    """

    def __init__(self, corpus: VectorBlocks, device: str) -> None:
        import torch

        try:
            self.device = torch.device(str(choose_device(device, current_slot(), torch.cuda.device_count())))
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().splitlines()[0]
            message = f"index.device: torch cannot use {device!r}: {reason}; leave it out, or name another"
            raise ConfigError(message) from None
        self.corpus, self.longest = corpus, LongestVector()
        self._kept: dict[int, Any] = {}

    def propose(self, queries: np.ndarray, which: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best documents of the corpus for each query."""
        import torch

        best = np.full((len(queries), k), NOTHING, dtype=np.uint64)
        asked = torch.from_numpy(queries).to(self.device)
        with torch.inference_mode():
            for block in self.corpus.blocks():
                self.longest.see(block)
                vectors = self._on_device(block)
                step = max(1, _PAIRS // max(1, len(vectors)))
                for first in range(0, len(queries), step):
                    part = slice(first, first + step)
                    scores, places = torch.topk(asked[part] @ vectors.T, min(k, len(vectors)), dim=1, sorted=False)
                    rows = places.cpu().numpy() + block.first
                    keys, owners = pack(scores.cpu().numpy(), rows), np.repeat(np.arange(len(rows)), rows.shape[1])
                    best[part] = keep_best(best[part], keys.ravel(), owners, k)
        return as_proposal(best, queries, self.longest.length)

    def _on_device(self, block: Block) -> Any:
        import torch

        if block.first in self._kept:
            return self._kept[block.first]
        vectors = torch.from_numpy(np.ascontiguousarray(block.vectors)).to(self.device)
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            if free > total // 2:
                self._kept[block.first] = vectors
        return vectors
