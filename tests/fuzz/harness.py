"""Gives mutated files to a reader, and looks at what it does: errors, time, memory, and that no code is run."""

import gc
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fuzz.mutations import mutate

SECONDS, BYTES = 1.0, 100e6  # of processor time and of memory, for one file
HANG = 20  # seconds after which a reader is stopped
LONGEST_MESSAGE = 20_000  # characters: a table of arrays, a list of twenty files
PEAK = Path("/proc/self/clear_refs")
RUN_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pickle.find_class")


@dataclass
class Reader:
    """A reader of files, and good files for it.

    Attributes:
        name: for messages.
        seeds: good files.
        read: called with the path of a file; whatever it gives is fine.
        refusals: the exceptions that it documents.
        file: name of the file in its folder; prepare: called with the folder, once, to write what lies around it.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[Path], object]
    refusals: tuple
    file: str = "file"
    prepare: Callable[[Path], object] = lambda folder: None


@dataclass
class Outcome:
    """What a reader did with many files: how many it read and refused, the dearest one, and what went wrong."""

    name: str
    read: int = 0
    refused: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    faults: list[str] = field(default_factory=list)

    def __str__(self):
        return (
            f"{self.name:14} {self.read + self.refused:7} files: {self.read:7} read, {self.refused:7} refused; dearest "
            f"{self.seconds:.2f} s, {self.bytes / 1e6:.0f} MB; {len(self.faults)} faults"
        )


def fuzz(
    reader: Reader, folder: Path, count: int, seed: int, keep: Path | None = None, most_faults: int = 5
) -> Outcome:
    """Reads `count` mutated files.

    Args:
        folder: empty, for the files.
        seed: of the mutations: file k is the same for any count.
        keep: where the files that went wrong are kept; None: nowhere.
        most_faults: after so many it stops.
    """
    outcome = Outcome(reader.name)
    reader.prepare(folder)
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    for good in reader.seeds:
        path.write_bytes(good)
        reader.read(path)
    for number in range(count):
        rng = random.Random(f"{reader.name} {seed} {number}")
        data = mutate(rng.choice(reader.seeds), rng.choice(reader.seeds), rng)
        path.write_bytes(data)
        fault = _look(reader, path, outcome)
        if fault:
            kept = ""
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{reader.name}-{seed}-{number}-{path.name}").write_bytes(data)
                kept = f", kept in {keep}"
            outcome.faults.append(f"{reader.name}, seed {seed}, file {number} ({len(data)} bytes){kept}: {fault}")
            if len(outcome.faults) == most_faults:
                break
    return outcome


def _look(reader, path, outcome):
    """Reads one file; returns what is wrong, if anything is."""
    fault, before = "", _memory_from_now_on()
    start = time.process_time()
    try:
        with _stopped_after(HANG), _watched(), warnings.catch_warnings(action="ignore"):
            reader.read(path)
        outcome.read += 1
    except reader.refusals as error:
        outcome.refused += 1
        text = str(error)
        if not text.strip() or len(text) > LONGEST_MESSAGE:
            fault = f"a message of {len(text)} characters: {text[:200]}"
        elif "\x1b" in text or "\0" in text:
            fault = f"a message with control characters: {text[:200]!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        places = traceback.extract_tb(error.__traceback__)[-3:]
        where = " < ".join(f"{Path(place.filename).name}:{place.lineno}" for place in reversed(places))
        fault = f"{type(error).__name__}: {str(error)[:200]} ({where})"
    seconds, used = time.process_time() - start, _peak() - before
    outcome.seconds, outcome.bytes = max(outcome.seconds, seconds), max(outcome.bytes, used)
    if not fault and seconds > SECONDS:
        fault = f"{seconds:.2f} s"
    if not fault and used > BYTES:
        fault = f"{used / 1e6:.0f} MB"
    return fault


# ---------------------------------------------------------------- memory


def _memory_from_now_on() -> float:
    """Bytes that the process holds; its peak starts anew. 0 on systems that do not tell."""
    try:
        PEAK.write_text("5")
    except OSError:
        return 0.0
    return _peak()


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return float(status.split("VmHWM:")[1].split()[0]) * 1024


# ---------------------------------------------------------------- time and code


@contextmanager
def _stopped_after(seconds):
    def stop(signum, frame):
        raise TimeoutError(f"still not ready after {seconds} s")

    if not hasattr(signal, "setitimer"):
        yield
        return
    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


_watching = False
_hooked = False


def _hear(event, arguments):
    if _watching and event.startswith(RUN_CODE):
        raise AssertionError(f"code of the file was run: {event} {arguments!r:.100}")


@contextmanager
def _watched():
    """AssertionError where a program is started, or a name of a pickle is looked up."""
    global _watching, _hooked
    if not _hooked:  # a hook stays for ever
        sys.addaudithook(_hear)
        _hooked = True
    _watching = True
    try:
        yield
    finally:
        _watching = False


def tidy() -> None:
    """Frees what the last reader left, so that it does not count for the next."""
    gc.collect()
