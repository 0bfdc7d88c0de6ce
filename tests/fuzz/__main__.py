"""Many mutated files for every reader: `python tests/fuzz/__main__.py --mutations 100000`."""

import argparse
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

from fuzz.harness import fuzz, tidy  # noqa: E402
from fuzz.readers import by_name  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--mutations", type=int, default=100_000, help="files in all")
    parser.add_argument("--seed", type=int, help="of an earlier run; a new one if not given")
    parser.add_argument("--readers", nargs="*", default=[], help="their names; all if not given")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzz-failures", help="for files")
    args = parser.parse_args()
    seed = secrets.randbelow(10**6) if args.seed is None else args.seed
    print(f"seed {seed}, {os.cpu_count()} CPUs", flush=True)
    chosen, faults, start = by_name(args.readers), 0, time.perf_counter()
    for reader in chosen:
        with tempfile.TemporaryDirectory() as folder:
            outcome = fuzz(reader, Path(folder), -(-args.mutations // len(chosen)), seed, args.keep)
        print(outcome, flush=True)
        for fault in outcome.faults:
            print(f"  {fault}", flush=True)
        faults += len(outcome.faults)
        tidy()
    print(f"{faults} faults, {time.perf_counter() - start:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
