"""What all commands share: parsers, argument types, the device, exit codes, progress."""

from minideeplab.cli.data_arguments import add_data_arguments, check_files, data_options, open_data, open_splits
from minideeplab.cli.device import add_device_arguments, announce_compilation, set_threads, use_device, use_precision
from minideeplab.cli.guard import INTERRUPTED, deferred_interrupt, main_guard
from minideeplab.cli.memory import peak_memory
from minideeplab.cli.parser import (
    add_checkpoint_arguments,
    add_crf_argument,
    add_predictor_arguments,
    command_line,
    command_parser,
    predictor_of,
)
from minideeplab.cli.progress import Progress, Speed, counted, duration, hidden_progress, on_ranks, threads_text
from minideeplab.cli.signals import exit_code
from minideeplab.cli.stored import stored_arguments
from minideeplab.cli.types import (
    batch_size,
    blur_sigma,
    create_folder,
    crf_iterations,
    crf_settings,
    crop_side,
    fraction,
    fraction_below_one,
    image_factor,
    non_negative_float,
    non_negative_int,
    open_fraction,
    output_file,
    positive_float,
    positive_int,
    seed,
)

__all__ = [
    "INTERRUPTED",
    "Progress",
    "Speed",
    "add_checkpoint_arguments",
    "add_crf_argument",
    "add_data_arguments",
    "add_device_arguments",
    "add_predictor_arguments",
    "announce_compilation",
    "batch_size",
    "blur_sigma",
    "check_files",
    "command_line",
    "command_parser",
    "counted",
    "create_folder",
    "crf_iterations",
    "crf_settings",
    "crop_side",
    "data_options",
    "deferred_interrupt",
    "duration",
    "exit_code",
    "fraction",
    "fraction_below_one",
    "hidden_progress",
    "image_factor",
    "main_guard",
    "non_negative_float",
    "non_negative_int",
    "on_ranks",
    "open_data",
    "open_fraction",
    "open_splits",
    "output_file",
    "peak_memory",
    "positive_float",
    "positive_int",
    "predictor_of",
    "seed",
    "set_threads",
    "stored_arguments",
    "threads_text",
    "use_device",
    "use_precision",
]
