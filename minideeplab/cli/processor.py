"""Whether this process gets the processor that its threads ask for."""

import time

WINDOW = 20.0  # seconds that are looked at
LEAST_SHARE = 0.45  # of the threads' time; one thread alone, as it decodes images, has half the time of two


class ProcessorWatch:
    """Compares the processor time of this process with wall-clock time x threads.

    Threads share each layer equally, and wait for the slowest: beside another busy program two of them may run at a
    tenth of the speed of one.

    Args:
        threads: that compute; with one there is nothing to advise.
    """

    said = False  # once in a process is enough

    def __init__(self, threads: int):
        self.threads = threads
        self.restart()

    def restart(self) -> None:
        """Begins to measure anew."""
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def sentence(self) -> str | None:
        """What to say of the last WINDOW seconds, when they are over; None where all is well, or it has been said."""
        if ProcessorWatch.said or self.threads < 2 or time.perf_counter() - self.wall < WINDOW:
            return None
        used = (time.process_time() - self.processor) / (time.perf_counter() - self.wall)
        self.restart()
        if used >= LEAST_SHARE * self.threads:
            return None
        ProcessorWatch.said = True
        return (
            f"in the last {WINDOW:.0f} seconds {self.threads} threads got the time of {used:.1f} processors: other "
            f"programs use them, or the work is too small for so many threads, and all of them wait for the slowest; "
            f"try --threads {max(1, min(self.threads - 1, round(used)))}, or OMP_WAIT_POLICY=passive in the environment"
        )
