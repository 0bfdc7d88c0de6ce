"""What a run keeps for its report: enough, not too much, and the same after a stop."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import Pictures, make_report, row_of, scores_of, validate

from minideeplab.distributed import Alone
from minideeplab.evaluation import ConfusionMatrix, Prediction, Predictor
from minideeplab.nn import Conv2d
from minideeplab.report import Report, Seen, fixed_samples, record


@given(st.integers(1, 500), st.integers(1, 20))
def test_a_thinned_list_holds_what_longer_ones_need(count, limit):
    shown = record.thinned(list(range(count)), limit)
    assert shown[0] == 0 and shown[-1] == count - 1 and len(shown) <= limit + 1 and shown == sorted(set(shown))
    later = record.thinned(list(range(count + 1)), limit)
    assert set(later) <= {*shown, count}  # nothing that was left out is asked for again
    if count <= limit:
        assert shown == list(range(count))


def test_samples_are_spread_over_the_split():
    assert fixed_samples(1) == [0] and fixed_samples(3) == [0, 1, 2] and fixed_samples(100) == [0, 33, 66, 99]


def test_the_worst_images_are_those_of_the_lowest_mean_iou(tmp_path):
    pictures = Pictures(count=20, size=(6, 7))
    pictures.masks[3] = pictures.ignore_index  # has no score
    report = Report(tmp_path, pictures, pictures)
    report.add(1, validate(report, pictures, 5), True)
    scores = {}
    for number, logits in enumerate(scores_of(pictures, 5)):
        image = ConfusionMatrix(pictures.num_classes)
        image.update(pictures.masks[number], logits.argmax(axis=-1))
        scores[pictures.ids[number]] = image.mean_iou()
    del scores[pictures.ids[3]]
    worst = json.loads((tmp_path / "report" / "best.json").read_text())["worst"]
    assert [image["id"] for image in worst] == sorted(scores, key=scores.get)[: record.WORST]


def test_a_fault_in_a_picture_ends_no_validation(tmp_path, monkeypatch):
    pictures = Pictures()
    report = Report(tmp_path, pictures, pictures)
    monkeypatch.setattr(record.pictures, "small_photo", lambda *arguments: 1 / 0)
    confusion = validate(report, pictures, 1)
    with pytest.raises(ZeroDivisionError):
        report.add(1, confusion, True)
    monkeypatch.undo()
    report.add(1, validate(report, pictures, 1), True)  # the next one is none the worse


def test_a_validation_that_was_broken_off_leaves_nothing_behind(tmp_path):
    whole, broken = (Report(tmp_path / name, Pictures(), Pictures()) for name in ("whole", "broken"))
    half = Pictures(count=3)
    validate(broken, half, 1)
    for report in (whole, broken):
        report.folder.mkdir()
        report.add(1, validate(report, Pictures(), 2), True)
    for name in ("samples.json", "epoch-00001.json", "best.json"):
        assert (whole.kept / name).read_bytes() == (broken.kept / name).read_bytes()


class Rank(Alone):
    """One of several ranks, called in turn, the first at the end: what others gather lies in a list for it."""

    def __init__(self, rank, size, sent):
        self.rank, self.size, self.sent = rank, size, sent

    def gather(self, value):
        if self.rank:
            self.sent.append(value)
            return []
        return [value, *self.sent]


def validate_on_ranks(folder, dataset, size):
    """The report on the first of so many ranks, which have seen a validation; and what the others have then."""
    report, sent = Report(folder, dataset, dataset), []
    ranks = [report, *(Seen(len(dataset)) for _ in range(size - 1))]
    for rank in range(size - 1, -1, -1):
        group = Rank(rank, size, sent)
        confusion = validate(ranks[rank], dataset, 2, group)
        ranks[rank].gather(group)
    return report, confusion, ranks[1:]


@pytest.mark.parametrize(("count", "size"), [(20, 2), (20, 3), (2, 4)])
def test_ranks_that_share_a_validation_keep_what_one_process_keeps(tmp_path, count, size):
    pictures = Pictures(count, size=(6, 7))
    one = Report(tmp_path / "one", pictures, pictures)
    confusion = validate(one, pictures, 2)
    shared, _, others = validate_on_ranks(tmp_path / "shared", pictures, size)
    for report in (one, shared):
        report.folder.mkdir()
        report.add(1, confusion, True)
    for name in ("samples.json", "epoch-00001.json", "best.json"):
        assert (one.kept / name).read_bytes() == (shared.kept / name).read_bytes()
    assert not any(seen.samples or seen.worst for seen in others)


def test_a_fault_on_another_rank_is_told_by_the_first(tmp_path, monkeypatch):
    pictures, photo = Pictures(), record.pictures.small_photo
    bad = pictures.images[3]  # of the second rank

    def fail_once(image):
        return 1 / 0 if np.array_equal(image, bad) else photo(image)

    monkeypatch.setattr(record.pictures, "small_photo", fail_once)
    report, confusion, _ = validate_on_ranks(tmp_path, pictures, 2)
    with pytest.raises(RuntimeError, match="on rank 1: ZeroDivisionError"):
        report.add(1, confusion, True)


def test_long_runs_keep_few_predictions_and_a_page_of_bounded_size(tmp_path):
    """Noise, which no PNG makes smaller, in the largest pictures that the page has."""
    pictures = Pictures(count=6, size=(record.pictures.SIDE, record.pictures.SIDE), names=[f"c{i}" for i in range(8)])
    report = Report(tmp_path, pictures, pictures)
    confusion, rows = validate(report, pictures, 0), []
    report.add(1, confusion, True)
    first = (report.kept / "epoch-00001.json").read_bytes()
    for epoch in range(1, 40):
        (report.kept / f"epoch-{epoch:05}.json").write_bytes(first)
        rows.append(row_of(epoch, confusion))
        report._thinned([row["epoch"] for row in rows])
    report.write(tmp_path / "report.html", rows, [{"step": 1, "loss": 1.0, "lr": 0.1}], (40, 40))
    kept = sorted(report.kept.glob("epoch-*.json"))
    assert kept[-1].name == "epoch-00039.json" and kept[0].name == "epoch-00001.json"
    assert 2 <= len(kept) <= record.VALIDATIONS + 1
    assert sum(file.stat().st_size for file in kept) <= record.SAMPLE_BYTES
    assert (tmp_path / "report.html").stat().st_size < 6e6


def test_epochs_that_a_resume_took_back_are_gone(tmp_path):
    report = make_report(tmp_path / "run", epochs=4, best=3)
    confusion = ConfusionMatrix(report.val_set.num_classes)
    report.write(tmp_path / "run" / "report.html", [row_of(1, confusion), row_of(2, confusion)], [], (4, 12))
    assert [file.name for file in sorted(report.kept.glob("epoch-*"))] == ["epoch-00001.json", "epoch-00002.json"]
    assert "Not validated yet" in (tmp_path / "run" / "report.html").read_text()  # the best one was taken back too


def test_damaged_samples_are_written_anew(tmp_path):
    report = make_report(tmp_path / "run")
    file = report.kept / "samples.json"
    before = file.read_bytes()
    for damaged in (b'[{"id":', b"", b"[" * 100_000, b"{}", b"\xff\xfe"):
        file.write_bytes(damaged)
        report.add(4, validate(report, Pictures(), 4), False)
        assert file.read_bytes() == before


def test_an_image_in_tiles_is_shown_without_its_scores(tmp_path, monkeypatch):
    pictures = Pictures(count=1, size=(150, 90), names="abcd")
    model = Conv2d(3, 4, 1, bias=True).initialise(0).eval()
    made = []
    for tile in (65, None):
        report = Report(tmp_path / str(tile), pictures, pictures)
        report.folder.mkdir()
        with monkeypatch.context() as patch:
            if tile:
                patch.setattr(Prediction, "scores", property(lambda prediction: 1 / 0))
            confusion = Predictor(model, tile=tile).confusion(pictures, see=report.see)
        report.add(1, confusion, True)
        made.append((report.kept / "epoch-00001.json").read_text())
    assert made[0] == made[1]


@pytest.mark.parametrize("name", ["samples.json", "epoch-00001.json", "best.json"])
def test_a_damaged_file_costs_what_it_held(tmp_path, name):
    report = make_report(tmp_path / "run")
    (report.kept / name).write_bytes(b'{"cut')
    report.write(tmp_path / "page.html", [row_of(1, ConfusionMatrix(4))], [], (1, 1))
    assert "<h1>run</h1>" in (tmp_path / "page.html").read_text()
