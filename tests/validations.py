"""Validations that ranks share, as functions of a group: `mpi_runs.on_ranks` calls them on each."""

from report_runs import Pictures

from minideeplab.errors import DataError
from minideeplab.evaluation import Predictor
from minideeplab.nn import Conv2d
from minideeplab.report import Report, Seen


class Damaged(Pictures):
    """One of whose files has gone bad."""

    def sample(self, i):
        if i == 3:
            raise DataError("picture 3 is damaged")
        return super().sample(i)


def network(dataset):
    """Any: one convolution."""
    return Conv2d(3, dataset.num_classes, 1, bias=True).initialise(0).eval()


def validate_shared(group, folder, count):
    """Writes what the report keeps of a validation into the folder; the counts that this rank has then."""
    dataset = Pictures(count, size=(9, 12))
    report = Report(folder, dataset, dataset) if group.is_first else Seen(len(dataset))
    report.begin()
    confusion = Predictor(network(dataset)).confusion(dataset, see=report.see, group=group)
    report.gather(group)
    if group.is_first:
        folder.mkdir()
        report.add(1, confusion, True)
    return confusion.counts.tolist()


def fail_shared(group):
    """How a validation with a bad file ends on this rank."""
    dataset = Damaged()
    try:
        Predictor(network(dataset)).confusion(dataset, group=group)
    except Exception as error:
        return type(error).__name__, str(error)
