"""Images on the page: photograph, truth and prediction, whose pixels the script can name."""

from html import escape

from minideeplab.report.content import Content


def samples(content: Content) -> str:
    """The validation images that the run follows, each with a strip of predictions, one for each validation kept."""
    if not content.scenes or not content.answers:
        return "<p>Not validated yet.</p>"
    epochs = sorted(content.answers)
    parts = []
    if len(epochs) > 1:
        marks = "".join(f"<option value={i}></option>" for i in range(len(epochs)))
        last = len(epochs) - 1
        parts.append(
            f"<p class=needs-script><label>after epoch <output id=epoch-shown>{epochs[-1]}</output> "
            f"<input type=range id=epoch-slider min=0 max={last} value={last} list=epoch-marks "
            f'data-epochs="{",".join(map(str, epochs))}"></label>\n<datalist id=epoch-marks>{marks}</datalist></p>'
        )
    for number, scene in enumerate(content.scenes):
        answers = [(epoch, content.answers[epoch][number]) for epoch in epochs if number < len(content.answers[epoch])]
        if answers:
            parts.append(_scene(scene, answers, f"sample {number + 1}"))
    return "\n".join(parts)


def worst(content: Content) -> str:
    """The validation images of the lowest mean IoU, worst first, as the best network sees them."""
    images = content.best["worst"] if content.best else []
    if not images:
        return "<p>Not validated yet.</p>"
    note = (
        f"<p>Lowest mean IoU of one image, after epoch {content.best['epoch']}. The mean is taken over the classes "
        "in this image or its prediction: a small object that is missed costs as much as the whole street.</p>"
    )
    scenes = [_scene(image, [(content.best["epoch"], image)], f"worst {i + 1}") for i, image in enumerate(images)]
    return "\n".join([note, *scenes])


def _scene(scene: dict, answers: list[tuple[int, dict]], kind: str) -> str:
    """Photograph, truth, prediction and errors side by side; below them what lies under the pointer, and the strip."""
    name = escape(scene["id"])
    epoch, last = answers[-1]
    panels = [
        _panel(f'<img class=photo src="{escape(scene["photo"])}" alt="photograph {name}">', "image"),
        _panel(f'<img class=truth src="{escape(scene["truth"])}" alt="true labels of {name}">', "truth"),
        _panel(
            f'<img class=prediction src="{escape(last["labels"])}" data-percent="{escape(last["percent"])}" '
            f'alt="predicted labels of {name}">',
            "prediction",
        ),
        _panel(f'<canvas class=verdict role=img aria-label="where {name} is right and wrong"></canvas>',
               "<i class='swatch right'></i>right <i class='swatch wrong'></i>wrong", "needs-script"),
    ]  # fmt: skip
    strip = ""
    if len(answers) > 1:
        items = "\n".join(
            f'<li><button type=button data-score="{escape(answer["score"])}" aria-pressed='
            f'{"true" if number == epoch else "false"}><img src="{escape(answer["labels"])}" '
            f'data-percent="{escape(answer["percent"])}" alt="predicted labels of {name} after epoch {number}">'
            f"<span>epoch {number}</span></button></li>"
            for number, answer in answers
        )
        strip = f"\n<ol class=strip>\n{items}\n</ol>"
    body = "\n".join(panels)
    hint = "<span class=needs-script>Point at a pixel, or move there with the arrow keys.</span>"
    size = f"data-height={scene['height']} data-width={scene['width']} data-step={scene['step']}"
    return f"""<article class=scene {size}>
<h3>{name}</h3>
<p class=score>{escape(last["score"])}</p>
<div class=panels role=group tabindex=0 aria-label="{kind}, {name}: arrow keys move from pixel to pixel">
{body}
</div>
<p class=readout aria-live=polite>{hint}</p>{strip}
</article>"""


def _panel(picture: str, caption: str, kind: str = "") -> str:
    return f"<figure class='panel {kind}'><div class=frame>{picture}</div><figcaption>{caption}</figcaption></figure>"
