"""Training steps as CUDA graphs: a small model's time goes into starting kernels, and a graph starts all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from icvos.datasets.fields import TensorFields

__all__ = ["GraphedStep"]

#: Steps of a kind that run as usual before it is captured: libraries choose their algorithms in them.
WARM = 3


class GraphedStep:
    """An optimiser step (forward, backward, clipping, update), captured once for each shape of batch.

    What is computed must not depend on values on the host, nor copy from it: a loss that does raises on capture.

    Args:
        compute: Gives the loss and further scalars of a batch, on the device.
        optimiser: Capturable, with a learning rate that is a tensor on the device.
        parameters: Whose gradients are clipped.
        clip: Largest gradient norm, or None.
    """

    def __init__(
        self,
        compute: Callable[[Any], tuple[Tensor, dict[str, Tensor]]],
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        clip: float | None,
    ) -> None:
        self.compute, self.optimiser, self.parameters, self.clip = compute, optimiser, parameters, clip
        self._seen: dict[Any, int] = {}
        self._graphs: dict[Any, tuple[torch.cuda.CUDAGraph, TensorFields, dict[str, Tensor]]] = {}

    def __call__(self, batch: TensorFields) -> dict[str, Tensor]:
        """Do one step; return ``loss``, the scalars and, where clipped, ``gradient_norm``: valid until the next."""
        tensors = batch.tensors
        plain = [(name, value) for name, value in vars(batch).items() if name not in tensors]
        kind = (tuple((n, tuple(t.shape), t.dtype) for n, t in tensors.items()), tuple(plain))
        if kind not in self._graphs:
            self._seen[kind] = self._seen.get(kind, 0) + 1
            if self._seen[kind] <= WARM:
                return self._aside(batch)
            self._graphs[kind] = self._capture(batch)
        graph, inputs, outputs = self._graphs[kind]
        for name, tensor in inputs.tensors.items():
            tensor.copy_(tensors[name], non_blocking=True)
        graph.replay()
        return outputs

    def plainly(self, batch: TensorFields) -> dict[str, Tensor]:
        """Do one step without a graph."""
        return self._body(batch)

    def _aside(self, batch: TensorFields) -> dict[str, Tensor]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = self._body(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs

    def _capture(self, batch: TensorFields) -> tuple[torch.cuda.CUDAGraph, TensorFields, dict[str, Tensor]]:
        inputs = batch.map(Tensor.clone)
        graph = torch.cuda.CUDAGraph()
        # Other threads (the loader's pinning) go on using the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            outputs = self._body(inputs)
        return graph, inputs, outputs

    def _body(self, batch: TensorFields) -> dict[str, Tensor]:
        self.optimiser.zero_grad(set_to_none=True)
        loss, scalars = self.compute(batch)
        loss.backward()
        outputs = {"loss": loss.detach(), **scalars}
        if self.clip is not None:
            outputs["gradient_norm"] = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        return outputs
