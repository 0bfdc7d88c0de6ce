"""What changes from step to step, as a function of the step alone: a resumed run goes on with the same numbers."""

import math
from dataclasses import dataclass

from minideeplab.errors import UsageError
from minideeplab.nn import poly, step_policy
from minideeplab.train.state import TrainState


@dataclass(frozen=True)
class Schedule:
    """Learning rate, and share of the pixels that count, of each step of a run.

    Attributes:
        steps: of the whole run; epoch_steps: of one epoch.
        lr, power, end_lr: of the poly policy.
        every: None, or the steps after which the step policy takes a tenth of the rate, instead of the poly policy.
        warmup: steps in which the rate grows to what the policy says.
        hard_share, hard_ramp: the share of hard pixels, and the steps in which it falls from 1 to that.
    """

    steps: int
    epoch_steps: int
    lr: float
    power: float = 0.9
    end_lr: float = 0.0
    every: int | None = None
    warmup: int = 0
    hard_share: float = 1.0
    hard_ramp: int = 0

    @classmethod
    def of(cls, args, epoch_steps: int) -> "Schedule":
        """As the arguments of the command say; `epoch_steps` are the batches of an epoch."""
        return cls(
            steps=args.steps or args.epochs * epoch_steps,
            epoch_steps=epoch_steps,
            lr=args.lr,
            power=args.power,
            end_lr=args.end_lr,
            every=args.lr_every,
            warmup=args.warmup,
            hard_share=1.0 if args.hard_pixels is None else args.hard_pixels,
            hard_ramp=args.hard_ramp,
        )

    @property
    def epochs(self) -> int:
        """Epochs of the run; of the last one perhaps not all batches."""
        return math.ceil(self.steps / self.epoch_steps)

    def rate(self, step: int) -> float:
        """Learning rate of a step, the first being 0: policy(step) * min(1, (step + 1) / warmup).

        Source of the warm-up: Goyal et al. 2017 (arXiv 1706.02677), section 2.2.
        """
        if self.every:
            rate = step_policy(self.lr, step, self.every)
        else:
            rate = poly(self.lr, step, self.steps, power=self.power, end_lr=self.end_lr)
        return rate * (step + 1) / self.warmup if step + 1 < self.warmup else rate

    def share(self, step: int) -> float:
        """Share of hard pixels of a step: 1 + (hard_share - 1) min(1, step / hard_ramp)."""
        return 1 + (self.hard_share - 1) * step / self.hard_ramp if step < self.hard_ramp else self.hard_share


def is_finished(args, state: TrainState, epoch_steps: int) -> bool:
    """Whether a run has done its epochs, or was ended by its patience."""
    return state.epoch == Schedule.of(args, epoch_steps).epochs or state.is_out_of_patience(args.patience)


def extend(args, state: TrainState, epoch_steps: int) -> str:
    """Makes of a finished run one of --extend more epochs; returns a sentence that says so.

    The run goes on as if it had been planned so long: the poly policy spans the new total, from the present step on.
    Patience begins anew.

    Raises:
        UsageError: the run is not finished.
    """
    steps = Schedule.of(args, epoch_steps).steps
    if not is_finished(args, state, epoch_steps):
        raise UsageError(
            f"--extend {args.extend}: this run is not finished, it stands at step {state.step} of {steps}; leave out "
            "--extend to finish it, and extend it then"
        )
    if args.steps:
        args.steps = state.step + args.extend * epoch_steps
    else:
        args.epochs = state.epoch + args.extend
    state.extended_at = state.epoch
    longer = Schedule.of(args, epoch_steps)
    return (
        f"extended by {args.extend} epochs to {longer.steps} steps in {longer.epochs} epochs; the learning rate goes "
        f"on at {longer.rate(state.step):.2e}, as if the run had been planned so long"
    )
