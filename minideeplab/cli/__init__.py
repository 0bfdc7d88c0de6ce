"""What all commands share: parsers, argument types, the device, exit codes, progress."""

from minideeplab.cli.device import add_device_arguments, announce_compilation, set_threads, use_device
from minideeplab.cli.guard import INTERRUPTED, deferred_interrupt, main_guard
from minideeplab.cli.memory import peak_memory
from minideeplab.cli.parser import (
    add_crf_argument,
    add_data_arguments,
    add_predictor_arguments,
    command_line,
    command_parser,
    open_data,
    predictor_of,
)
from minideeplab.cli.progress import Progress, Speed, duration, hidden_progress
from minideeplab.cli.types import (
    create_folder,
    crf_settings,
    fraction,
    fraction_below_one,
    non_negative_float,
    non_negative_int,
    open_fraction,
    output_file,
    positive_float,
    positive_int,
)

__all__ = [
    "INTERRUPTED",
    "Progress",
    "Speed",
    "add_crf_argument",
    "add_data_arguments",
    "add_device_arguments",
    "add_predictor_arguments",
    "announce_compilation",
    "command_line",
    "command_parser",
    "create_folder",
    "crf_settings",
    "deferred_interrupt",
    "duration",
    "fraction",
    "fraction_below_one",
    "hidden_progress",
    "main_guard",
    "non_negative_float",
    "non_negative_int",
    "open_data",
    "open_fraction",
    "output_file",
    "peak_memory",
    "positive_float",
    "positive_int",
    "predictor_of",
    "set_threads",
    "use_device",
]
