"""Surgery inside the `transformers.Trainer`: a main and an auxiliary data set, each with its loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from functools import lru_cache, partial
from hashlib import sha256
from inspect import signature
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer
from transformers.trainer_utils import seed_worker
from transformers.training_args import OptimizerNames

from ..engine import BaseMethod
from ..surgeon import Surgeon
from ..surgeon.leaves import shared_parameters

STATE = "surgery.pt"


class SurgeryTrainer(Trainer):
    """A `transformers.Trainer` whose steps are a method's direction between a main and an auxiliary loss.

    The main loss is the Trainer's own, on ``train_dataset``. Every micro-batch of it comes with one of the
    auxiliary data, of the same size, from a shuffled stream without end that depends on ``args.data_seed``
    (or ``args.seed``) alone, and begins anew with every call of ``train()``; that of the last, shorter batch
    of an epoch is of full size. Both losses are divided as the Trainer divides its own: by the labels of the
    whole step, over micro-batches and processes, where the model or ``compute_loss_func`` takes their number.
    Accumulation, mixed precision, clipping, ``auto_find_batch_size`` and `DistributedDataParallel` work as
    the Trainer's arguments say. A checkpoint also holds `surgery.pt`, the method's memory and the place in
    the auxiliary stream, and resuming continues from both. What `Surgeon.diagnostics` tells is logged with
    each training loss, as ``surgery/…``, to wherever the Trainer reports. A loss that is not finite ends the
    training with an error.

    Args:
        method: what makes one direction of the two gradients; what it draws depends on ``args.seed``. The
            attribute may be replaced by another with the same memory, to move λ.
        auxiliary_dataset: examples as ``data_collator`` takes them; it has a length.
        auxiliary_loss: maps the model and a batch to a scalar, a mean over the batch; or, where it takes
            ``num_items_in_batch``, to a sum divided by that number of labels of the whole step (or, where the
            Trainer counts none and gives None, to a mean). None for the Trainer's own loss. Where it reads
            columns that the model does not, give ``remove_unused_columns=False``, as for the Trainer's own.
        shared: the parameters that the method works on; None for all (see `Surgeon`).
        arguments: those of the `Trainer`.

    Raises:
        ValueError: ``auxiliary_dataset`` has no length or is empty, or the Trainer runs FSDP or DeepSpeed,
            whose engines keep the gradients to themselves, or an optimiser that steps within ``backward()``;
            at resuming, the checkpoint has no `surgery.pt`.
    """

    def __init__(
        self,
        *arguments: Any,
        method: BaseMethod,
        auxiliary_dataset: Dataset[Any],
        auxiliary_loss: Callable[..., Tensor] | None = None,
        shared: Iterable[Tensor] | None = None,
        **named_arguments: Any,
    ) -> None:
        if not isinstance(auxiliary_dataset, Sized) or not len(auxiliary_dataset):
            raise ValueError("auxiliary_dataset must have a length of at least 1, to be shuffled and resumed")
        super().__init__(*arguments, **named_arguments)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ValueError(
                "SurgeryTrainer runs on one device or under DDP: for shards, use fully_shard and "
                "methods.Surgeon in a loop of your own"
            )
        if self.args.optim in (OptimizerNames.LOMO, OptimizerNames.ADALOMO):
            raise ValueError(
                f"optim={OptimizerNames(self.args.optim).value!r} steps within backward(), before there is a "
                "direction: choose another"
            )
        if self.args.n_gpu > 1:
            raise ValueError("SurgeryTrainer uses one GPU a process: torchrun, or CUDA_VISIBLE_DEVICES=0")
        self._method = method
        self.auxiliary_dataset = auxiliary_dataset
        self.auxiliary_loss = auxiliary_loss
        self.surgeon: Surgeon | None = None
        self._operated: torch.optim.Optimizer | None = None
        self._shared = shared_parameters(shared)
        self._counts = (
            auxiliary_loss is not None and "num_items_in_batch" in signature(auxiliary_loss).parameters
        )
        self._restart(0)

    @property
    def method(self) -> BaseMethod:
        """What makes one direction of the two gradients.

        Raises:
            ValueError: it is replaced by one that cannot go on with what has been remembered.
        """
        return self._method

    @method.setter
    def method(self, method: BaseMethod) -> None:
        if self.surgeon is not None:
            self.surgeon.method = method
        self._method = method

    def _restart(self, taken: int) -> None:
        """The auxiliary stream from a place on."""
        self._taken = taken
        self._auxiliary: Iterator[dict[str, Any]] | None = None
        self._step: list[dict[str, Any]] = []
        self._auxiliary_items: Tensor | int | None = None

    def _inner_training_loop(self, *arguments: Any, **named_arguments: Any) -> Any:
        """Training from the start: every ``train()``, and every batch size that is tried."""
        self._restart(0)
        if self.surgeon is not None:
            self.surgeon.drop()
        return super()._inner_training_loop(*arguments, **named_arguments)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The micro-batches of a step and the number of their labels; as many auxiliary ones are kept."""
        main, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        self._step = [self._next_auxiliary() for _ in main]
        self._auxiliary_items = self._get_num_items_in_batch(self._step, device)
        return main, items

    def _surgeon(self) -> Surgeon:
        """The Surgeon of the optimiser, a new one where this is another than before."""
        optimizer: Any = getattr(self.optimizer, "optimizer", self.optimizer)  # accelerate wraps it
        if self.surgeon is None or self._operated is not optimizer:
            self._operated = optimizer
            self.surgeon = Surgeon(
                optimizer,
                self.method,
                shared=self._shared,
                scaler=self.accelerator.scaler,
                seed=self.args.seed,
                autocast=torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None,
            )
        return self.surgeon

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """The gradients of both losses on a micro-batch of each, and on the last of a step, surgery.

        Returns:
            the main loss, divided as the Trainer divides it under accumulation.
        """
        model.train()
        if callable(prepare := getattr(self.optimizer, "train", None)):
            prepare()
        inputs = self._prepare_inputs(inputs)
        auxiliary = self._prepare_inputs(self._step.pop(0))
        reported: list[Tensor] = []

        def main() -> Tensor:
            with self.compute_loss_context_manager():
                loss: Any = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            value = self._per_step(loss, self._scaled_for_accumulation(num_items_in_batch))
            reported.append(value.detach())
            return value

        def aux() -> Tensor:
            items = self._auxiliary_items
            with self.compute_loss_context_manager():
                if self.auxiliary_loss is None:
                    loss: Any = self.compute_loss(model, auxiliary, num_items_in_batch=items)
                    return self._per_step(loss, self._scaled_for_accumulation(items))
                if not self._counts:
                    return self._per_step(self.auxiliary_loss(model, auxiliary), False)
                loss = self.auxiliary_loss(model, auxiliary, num_items_in_batch=items)
            if items is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # as compute_loss does: processes are averaged
            return self._per_step(loss, items is not None)

        surgeon = self._surgeon()
        (surgeon.backward if self.accelerator.sync_gradients else surgeon.accumulate)(main, aux)
        return reported[0]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """What the Trainer logs; beside a training loss, what surgery saw in the last step."""
        if "loss" in logs and self.surgeon is not None:
            logs |= {f"surgery/{name}": value for name, value in self.surgeon.diagnostics().items()}
        super().log(logs, start_time)

    def _per_step(self, loss: Tensor, scaled: bool) -> Tensor:
        return loss.mean() / (1 if scaled else self.current_gradient_accumulation_steps)

    def _scaled_for_accumulation(self, num_items_in_batch: Tensor | int | None) -> bool:
        if self.loss_is_scaled_for_ga is not None:
            return bool(self.loss_is_scaled_for_ga)
        by_model = self.model_accepts_loss_kwargs and num_items_in_batch is not None
        return by_model or self.compute_loss_func is not None

    def _next_auxiliary(self) -> dict[str, Any]:
        if self._auxiliary is None:
            self._auxiliary = iter(self._auxiliary_loader())
        self._taken += 1
        return next(self._auxiliary)

    def _auxiliary_loader(self) -> DataLoader[Any]:
        """The auxiliary stream from where it stands; it draws nothing from the global generator."""
        dataset, args = self.auxiliary_dataset, self.args
        if hasattr(dataset, "remove_columns"):
            dataset, collate = self._remove_unused_columns(dataset, "auxiliary"), self.data_collator
        else:
            collate = self._get_collator_with_removed_columns(self.data_collator, "auxiliary")
        seed = args.seed if args.data_seed is None else args.data_seed
        batches = _Batches(
            len(dataset), self._train_batch_size, seed, self._taken, args.process_index, args.world_size
        )
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory,
            generator=torch.Generator().manual_seed(seed),
            worker_init_fn=partial(
                seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index
            ),
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save and self.surgeon is not None:
            state = {"surgeon": self.surgeon.state_dict(), "auxiliary_batches": self._taken}
            torch.save(state, Path(output_dir) / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE
        if not path.is_file():
            raise ValueError(
                f"{checkpoint} has no {STATE}: another Trainer wrote it, or save_only_model left it out. To "
                "start from its weights, load them with from_pretrained and train without "
                "resume_from_checkpoint"
            )
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._surgeon().load_state_dict(state["surgeon"])
        self._restart(state["auxiliary_batches"])


class _Batches:
    """Batches of indices without end: permutation after permutation, cut without regard to their ends.

    Batch n of a process is the same whatever came before it, so that a stream can start anywhere. No two
    seeds share a permutation.
    """

    def __init__(self, length: int, size: int, seed: int, start: int, process: int, processes: int) -> None:
        self.length, self.size, self.seed = length, size, seed
        self.start, self.process, self.processes = start, process, processes

    def __iter__(self) -> Iterator[list[int]]:
        @lru_cache(maxsize=2)
        def permutation(epoch: int) -> list[int]:
            own = sha256(f"{self.seed} {epoch}".encode()).digest()[:7]
            generator = torch.Generator().manual_seed(int.from_bytes(own))
            return torch.randperm(self.length, generator=generator).tolist()

        for number in count(self.start):
            first = (number * self.processes + self.process) * self.size
            yield [permutation(i // self.length)[i % self.length] for i in range(first, first + self.size)]
