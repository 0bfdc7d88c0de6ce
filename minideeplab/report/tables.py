"""The tables of the page, as plain HTML: classes, confusion, epochs, data."""

from html import escape

import numpy as np

from minideeplab.evaluation import ConfusionMatrix, percent
from minideeplab.report.content import Content

LARGEST_MATRIX = 40  # classes; larger ones are in confusion.png
PAIRS = 12  # of classes that are taken for each other
SHOWN_EPOCHS = 200


def classes_for_script(content: Content) -> dict:
    """What the script must know: class names and colours, and the label of void, which has a colour too."""
    names = list(content.val_set.class_names)
    void = content.val_set.ignore_index
    colours = {label: content.colours[label].tolist() for label in {*range(len(names)), void}}
    return {"names": names, "void": void, "colours": colours}


def swatch(content: Content, label: int) -> str:
    """A square in the colour of a label."""
    return f'<i class=swatch style="background:rgb({",".join(map(str, content.colours[label]))})"></i>'


def matrix_of(content: Content) -> ConfusionMatrix | None:
    """The confusion matrix of the best validation, if there is one for these classes."""
    matrix = ConfusionMatrix(content.val_set.num_classes, content.val_set.ignore_index)
    counts = np.array(content.best["confusion"], np.int64) if content.best else np.zeros(0)
    if counts.shape != matrix.counts.shape:
        return None
    matrix.counts[...] = counts
    return matrix


def classes(content: Content) -> str:
    """A row for each class: how good it is, how much of it there is, what it is taken for. Sorted by a click."""
    matrix = matrix_of(content)
    if matrix is None:
        return "<p>Not validated yet.</p>"
    counts = content.train_set.counts
    train_share = counts.pixels[: matrix.num_classes] / max(1, counts.labelled)
    rows = []
    for label, name in enumerate(content.val_set.class_names):
        if label == content.val_set.ignore_index:
            continue
        iou, accuracy = matrix.iou()[label], matrix.class_accuracy()[label]
        cells = [
            _cell(label),
            f"<th scope=row>{swatch(content, label)}{escape(name)}</th>",
            _bar(iou),
            _cell(percent(accuracy), accuracy),
            _cell(percent(matrix.truth_share()[label]), matrix.truth_share()[label]),
            _cell(percent(train_share[label]), train_share[label]),
            _cell(f"{counts.masks[label]:,}", int(counts.masks[label])),
            f"<td>{_taken_for(content, matrix, label)}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = (
        "label",
        "class",
        "IoU %",
        "accuracy %",
        "of validation pixels %",
        "of training pixels %",
        "training images",
    )
    head = "".join(f"<th scope=col aria-sort=none><button type=button>{name}</button></th>" for name in heads)
    body = "\n".join(rows)
    return f"""<p>{escape(matrix.summary())}, after epoch {content.best["epoch"]}.
IoU of a class = pixels that are it and were called it, over pixels that are it or were called it.
Accuracy = share of its pixels that were called it.</p>
<div class=wide><table class=sortable>
<thead><tr>{head}<th scope=col>most often taken for</th></tr></thead>
<tbody>
{body}
</tbody>
</table></div>"""


def _cell(text, value=None) -> str:
    """A number, with what it is sorted by; a class without pixels comes last."""
    value = text if value is None else value
    key = "" if value != value else f"{value:.6g}"
    return f'<td data-value="{key}">{text}</td>'


def _bar(share: float) -> str:
    width = f' style="--share:{100 * share:.1f}%"' if share == share else ""
    return f'<td class=bar{width} data-value="{"" if share != share else f"{share:.6g}"}">{percent(share)}</td>'


def _taken_for(content: Content, matrix: ConfusionMatrix, label: int) -> str:
    row = matrix.counts[label].copy()
    total, row[label] = row.sum(), 0
    if not row.any():
        return ""
    other = int(row.argmax())
    return f"{swatch(content, other)}{escape(content.val_set.class_names[other])} {_share_text(row[other], total)}"


def _share_text(part: int, whole: int) -> str:
    """Percent without decimals; what is there, but rounds to nothing, is "<1"."""
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 0.5 else "&lt;1 %"


def confusion(content: Content) -> str:
    """The matrix: a row for each true class; of many classes the pairs that are confused most."""
    matrix = matrix_of(content)
    if matrix is None:
        return "<p>Not validated yet.</p>"
    parts = [_pairs(content, matrix)]
    if matrix.num_classes <= LARGEST_MATRIX:
        parts.insert(0, _matrix(content, matrix))
    else:
        parts.append(f"<p>The matrix of all {matrix.num_classes} classes is confusion.png.</p>")
    return "\n".join(parts)


def _matrix(content: Content, matrix: ConfusionMatrix) -> str:
    names, rows = content.val_set.class_names, []
    labels = [label for label in range(matrix.num_classes) if label != content.val_set.ignore_index]
    for truth in labels:
        total = int(matrix.counts[truth].sum())
        cells = []
        for other in labels:
            count = int(matrix.counts[truth, other])
            if not count:
                cells.append("<td></td>")
                continue
            share = 100 * count / total
            text = f"{share:.0f}" if share >= 0.5 else "&lt;1"
            said = f"{names[truth]} called {names[other]}: {share:.2f} %, {count:,} pixels"
            cells.append(f'<td style="--share:{share:.0f}%" title="{escape(said)}">{text}</td>')
        if not total:
            cells = [f"<td colspan={len(labels)} class=none>no pixels of this class</td>"]
        rows.append(f"<tr><th scope=row>{swatch(content, truth)}{escape(names[truth])}</th>{''.join(cells)}</tr>")
    heads = "".join(
        f"<th scope=col><span>{swatch(content, label)}{escape(names[label])}</span></th>" for label in labels
    )
    body = "\n".join(rows)
    return f"""<p>Each row is a true class: where its pixels went, in percent of them. Columns are predictions.</p>
<div class=wide><table class=matrix>
<thead><tr><td>truth \\ prediction</td>{heads}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>"""


def _pairs(content: Content, matrix: ConfusionMatrix) -> str:
    """The largest numbers of pixels that are one class and were called another."""
    wrong = matrix.counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    items = []
    for truth, other in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[truth, other]:
            share = _share_text(wrong[truth, other], matrix.counts[truth].sum())
            names = [f"{swatch(content, k)}{escape(content.val_set.class_names[k])}" for k in (truth, other)]
            items.append(f"<li>{names[0]} called {names[1]}: {wrong[truth, other]:,} pixels, {share} of it</li>")
    if not items:
        return "<p>No pixel was taken for another class.</p>"
    lines = "\n".join(items)
    return f"<h3>What costs most pixels</h3>\n<ol class=confused>\n{lines}\n</ol>"


def epochs(content: Content) -> str:
    """A row for each epoch, of a long run for some of them; the numbers behind the curves."""
    rows = content.epochs
    every = max(1, -(-len(rows) // SHOWN_EPOCHS))
    shown = [row for i, row in enumerate(rows) if i % every == 0 or i == len(rows) - 1]
    lines = []
    for row in shown:
        scores = (row["val_miou"], row["val_pixel_accuracy"])
        cells = [row["epoch"], f"{row['step']:,}", f"{row['train_loss']:.4f}", f"{row['lr']:.2e}"]
        cells += ["" if score is None else percent(score) for score in scores]
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    note = f"<p>Every {every} epochs; all are in metrics.csv.</p>" if every > 1 else ""
    heads = ("epoch", "step", "training loss", "learning rate", "mean IoU %", "pixel accuracy %")
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    body = "\n".join(lines)
    return f"""<details><summary>The epochs as a table</summary>{note}
<div class=wide><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div></details>"""


def data(content: Content) -> str:
    """Both splits side by side: where they lie, how many images, which sizes, how much void."""
    parts = []
    for title, dataset in (("Training", content.train_set), ("Validation", content.val_set)):
        counts = dataset.counts
        heights, widths = zip(*counts.sizes, strict=True) if counts.sizes else ((0,), (0,))
        absent = [dataset.class_names[label] for label in counts.absent]
        facts = {
            "data set": dataset.name,
            "folder": dataset.root,
            "split": dataset.split,
            "images": f"{len(dataset):,}",
            "width, pixels": _span(widths),
            "height, pixels": _span(heights),
            "void pixels": f"{percent(counts.void_share)} %",
        }
        if absent:
            facts["classes without a pixel"] = ", ".join(absent)
        parts.append(pairs(title, facts))
    return "\n".join(parts)


def _span(values) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def pairs(title: str, values: dict) -> str:
    """A table of names and values."""
    rows = "\n".join(
        f"<tr><th scope=row>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table class=pairs>\n<caption>{escape(title)}</caption>\n{rows}\n</table>"
