"""What both tasks share: networks and their optimizers, pieces of a batch, state."""

import contextlib
import copy
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnorm.layers.weights import held_spectral_norm
from attnorm.metrics.distributed import Processes
from attnorm.training.averaging import EMA, Network
from attnorm.training.config import TrainingConfig
from attnorm.training.runtime import autocast, seed_for

Metrics = dict[str, Tensor]
Batch = tuple[Any, Any]  # images (m, s, s, 3) uint8 and labels (m,) as read, or both as `prepare` returns them


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """A context in which no parameter of the network gets a gradient."""
    trained = [p for p in network.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


class AdversarialTask:
    """A generator, its opponent, their optimizers and the averaged generator.

    A subclass passes each of its networks to `_trained`, and then calls `_share`.
    """

    config: TrainingConfig
    ema: EMA[Any]

    def __init__(self, config: TrainingConfig, processes: Processes) -> None:
        self.config, self.processes, self.device = config, processes, processes.device
        self._first_piece = processes.rank * config.accumulation  # of this process, in the whole batch
        self._memory_format = torch.channels_last if config.channels_last else torch.contiguous_format
        self.networks: dict[str, nn.Module] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.scalers: dict[str, torch.amp.GradScaler] = {}  # of losses, for fp16; otherwise the scale is 1
        self._learning_rates: dict[str, float] = {}
        self._parallel: dict[str, nn.Module] = {}  # the networks for the losses: in DDP if there are several processes
        if self.device.type == "cuda":
            self._copies = torch.cuda.Stream(self.device)
        torch.manual_seed(seed_for(config.seed, "weights"))

    def prepare(self, number: int, batch: tuple[np.ndarray, np.ndarray]) -> tuple[Tensor, Tensor]:
        """Moves batch `number` to the device; called ahead of time in the reading thread."""
        images, labels = map(torch.from_numpy, batch)
        if self.device.type != "cuda":
            return images.to(self.device), labels.to(self.device)
        with torch.cuda.stream(self._copies):
            copies = [t.pin_memory().to(self.device, non_blocking=True) for t in (images, labels)]
        self._copies.synchronize()  # waits in this thread, so that the training thread need not
        for tensor in copies:
            tensor.record_stream(torch.cuda.default_stream(self.device))  # the stream that reads it
        return copies[0], copies[1]

    def state(self) -> dict[str, Any]:
        """Everything on which the next step depends."""
        return {
            **{name: network.state_dict() for name, network in self.networks.items()},
            "ema": self.ema.module.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "scalers": {name: scaler.state_dict() for name, scaler in self.scalers.items() if scaler.is_enabled()},
        }

    def load_state(self, state: dict[str, Any]) -> None:
        for name, network in self.networks.items():
            network.load_state_dict(state[name])
        self.ema.module.load_state_dict(state["ema"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, scaler in self.scalers.items():
            if scaler.is_enabled():
                scaler.load_state_dict(state["scalers"][name])

    def lr_factor(self, step: int) -> float:
        return self.config.lr_factor(step, self.config.steps)

    def _trained(self, name: str, network: Network, lr: float, *, compilable: bool = True) -> Network:
        """Moves the network to the run's device, makes its optimizer, and compiles it if configured.

        `compilable` is false for a network whose gradient is differentiated again.
        """
        network.to(self.device, memory_format=self._memory_format)  # type: ignore[call-overload]
        if self.config.compile and compilable:
            # Compiles its call, not its `forward`. There is a graph for each mode: without gradients, and with those
            # of its weights or only of its input.
            network.compile(dynamic=False)
        self.networks[name] = network
        self.optimizers[name] = torch.optim.Adam(network.parameters(), lr=lr, betas=self.config.betas, fused=True)
        self.scalers[name] = torch.amp.GradScaler(self.device.type, enabled=self.config.precision == "fp16")
        self._learning_rates[name] = lr
        return network

    def _share(self) -> None:
        """Makes the averaged generator, then wraps all networks for gradient averaging. Call it after `_trained`."""
        self.ema = EMA(self.networks["generator"], self.config.ema_half_life, self.config.ema_ramp_up)
        self._parallel = {name: self.processes.share_gradients(network) for name, network in self.networks.items()}

    def sampling_generator(self) -> Any:
        """A copy of the averaged generator, in eval mode."""
        return copy.deepcopy(self.ema.module)

    def save_model(self, folder: Path) -> None:
        """Writes the averaged generator in the form that a pipeline's `from_pretrained` reads."""
        self.sampling_generator().save_pretrained(folder)

    def _begin_step(self, step: int) -> None:
        for network in self.networks.values():
            network.train()
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rates[name] * self.lr_factor(step)

    def _average(self, step: int) -> None:
        self.ema.update(self.networks["generator"], step * self.config.batch_size, self.config.batch_size)

    def _backpropagate(self, name: str, loss: Tensor) -> None:
        """Adds a piece's share of the gradient of network `name`."""
        self.scalers[name].scale(loss / self.config.accumulation).backward()

    def _apply(self, name: str, losses: Metrics) -> Tensor:
        """Takes the optimizer's step and returns the norm of the gradient.

        If the gradient or one of the `losses` is not finite, the weights do not change and the norm is NaN, and the
        loop stops the run before it saves. In fp16 a scaled gradient may overflow: then the step is skipped, the norm
        is 0 and the scale is halved. All of this happens on the device, without a synchronization.
        """
        optimizer, scaler = self.optimizers[name], self.scalers[name]
        scale = scaler.scale(torch.ones((), device=self.device))
        gradients = [p.grad for p in self.networks[name].parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) / scale
        bad = ~torch.stack([*losses.values()]).isfinite().all()
        if scaler.is_enabled():
            scaler.step(optimizer)
            scaler.update()
            norm = torch.where(norm.isfinite() | (scale < 1), norm, 0.0)
        else:
            bad = bad | ~norm.isfinite()
            optimizer.found_inf = bad.float()  # type: ignore[attr-defined]  # the fused kernel then does nothing
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return torch.where(bad, math.nan, norm)

    def _split(self, number: int, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
        """The pieces of batch `number`: images (m, 3, h, w) in [-1, 1], and their labels or masks."""
        images, others = batch if isinstance(batch[0], Tensor) else self.prepare(number, batch)
        for part, other in zip(*(t.chunk(self.config.accumulation) for t in (images, others)), strict=True):
            x = part.permute(0, 3, 1, 2).float() / 127.5 - 1
            yield x.contiguous(memory_format=self._memory_format), other

    def _add(self, total: Metrics, **metrics: Tensor) -> None:
        for name, value in metrics.items():
            share = value.detach() / self.config.accumulation
            total[name] = total[name] + share if name in total else share

    @contextlib.contextmanager
    def _piece(self, index: int, updated: str) -> Iterator[None]:
        """The context for piece `index` of this process's share, in which the network `updated` gets gradients.

        Spectral norm iterates only with the first piece, and processes exchange gradients only with the last, so that
        one process with `accumulation` n takes the same steps as n processes.
        """
        with contextlib.ExitStack() as stack:
            if index > 0:
                stack.enter_context(held_spectral_norm(*self.networks.values()))
            if index < self.config.accumulation - 1:
                stack.enter_context(self.processes.without_sharing(self._parallel[updated]))
            yield

    def _autocast(self) -> torch.autocast:
        return autocast(self.device, self.config.precision)
