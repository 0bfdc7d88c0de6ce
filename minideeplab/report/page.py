"""report.html: one file with all in it. What it says is escaped; what it loads is nothing.

`page.html` is the frame, `page.css` the looks, `page.js` what happens under the pointer. Python writes the rest as
plain HTML, so that the page can be read without a script.
"""

from html import escape
from importlib import resources

import numpy as np

from minideeplab.evaluation import percent
from minideeplab.files.pages import as_json, filled, script_hash
from minideeplab.report import curves, scenes, tables
from minideeplab.report.content import Content

SHOWN_WARNINGS = 30


def page(content: Content) -> str:
    """The whole file as text."""
    script = _file("page.js")
    parts = {
        "name": escape(content.name),
        "style": _file("page.css"),
        "script": script,
        "script_hash": script_hash(script),
        "classes": as_json(tables.classes_for_script(content)),
        "subtitle": _subtitle(content),
        "numbers": _numbers(content),
        "warnings": _warnings(content),
        "curves": _curves(content),
        "epochs": tables.epochs(content),
        "class_table": tables.classes(content),
        "confusion": tables.confusion(content),
        "samples": scenes.samples(content),
        "worst": scenes.worst(content),
        "data": tables.data(content),
        "facts": _facts(content),
    }
    return filled(_file("page.html"), parts)


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _subtitle(content: Content) -> str:
    model = content.arguments.get("model", {})
    parts = [model.get("name"), model.get("backbone"), f"on {content.val_set.name}"]
    return escape(", ".join(str(part) for part in parts if part))


def _numbers(content: Content) -> str:
    """The few numbers that one looks for first."""
    best, last = content.best_row(), content.epochs[-1] if content.epochs else None
    epochs, steps = content.totals
    boxes = []
    if best:
        classes = f"over {best['val_classes_present']} of {content.val_set.num_classes} classes"
        boxes.append(("best mean IoU", f"{percent(best['val_miou'])} %", f"{classes}, after epoch {best['epoch']}"))
        accuracy, images = f"{percent(best['val_pixel_accuracy'])} %", len(content.val_set)
        note = f"of {images:,} validation image{'s' * (images != 1)}"
        boxes.append(("pixel accuracy", accuracy, note))
    if last:
        boxes.append(("training loss", f"{last['train_loss']:.3f}", f"mean of epoch {last['epoch']}"))
        boxes.append(("progress", f"{last['epoch']} / {epochs} epochs", f"{last['step']:,} of {steps:,} steps"))
        minutes, seconds = divmod(round(last["seconds"]), 60)
        speed = f"{last['images_per_second']:.1f} images/s" if last["images_per_second"] else ""
        boxes.append(("time", f"{minutes // 60}:{minutes % 60:02}:{seconds:02}", speed))
    cells = "\n".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(note)}</small></dd></div>"
        for name, value, note in boxes
    )
    return f"<dl class=numbers>\n{cells}\n</dl>"


def _warnings(content: Content) -> str:
    if not content.warnings:
        return ""
    shown = content.warnings[:SHOWN_WARNINGS]
    items = "\n".join(f"<li>{escape(sentence)}</li>" for sentence in shown)
    more = len(content.warnings) - len(shown)
    rest = f"\n<p>{more} more in log.txt</p>" if more else ""
    return f"<section id=warnings>\n<h2>Warnings of this run</h2>\n<ul>\n{items}\n</ul>{rest}\n</section>"


def _curves(content: Content) -> str:
    """Loss, learning rate and scores."""
    steps, validated = content.steps, content.validated()
    number, loss, group = curves.means([row["step"] for row in steps], [row["loss"] for row in steps])
    name = "loss of each step" if group == 1 else f"mean loss of {group} steps"
    _, rate, _ = curves.means([row["step"] for row in steps], [row["lr"] for row in steps])
    epoch = np.array([row["epoch"] for row in validated], float)
    scores = [
        curves.Series(title, epoch, np.array([100 * row[key] for row in validated]), style)
        for title, key, style in (("mean IoU", "val_miou", "main"), ("pixel accuracy", "val_pixel_accuracy", "pale"))
    ]
    return "\n".join([
        curves.curve("Training loss, nats", "step", [curves.Series(name, number, loss)]),
        curves.curve("Validation, %", "epoch", scores, top=100.0),
        curves.curve("Learning rate", "step", [curves.Series("rate", number, rate)]),
    ])  # fmt: skip


def _facts(content: Content) -> str:
    """Arguments, versions and hardware, as three tables."""
    record = content.arguments
    arguments = {name: value for name, value in record.get("arguments", {}).items() if value is not None}
    network = record.get("model", {}) | {"parameters": f"{record.get('parameters', 0):,}"}
    groups = {
        "Arguments": arguments,
        "Network": network,
        "Versions": record.get("versions", {}),
        "Hardware of the last start": content.machine,
    }
    return "\n".join(tables.pairs(title, values) for title, values in groups.items() if values)
