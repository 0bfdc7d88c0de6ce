"""report.html: what a run did, in one file that any browser shows."""

from minideeplab.report.record import Report, Seen, fixed_samples

__all__ = ["Report", "Seen", "fixed_samples"]
