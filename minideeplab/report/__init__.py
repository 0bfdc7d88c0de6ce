"""report.html: what a run did, in one file that any browser shows."""

from minideeplab.report.record import Report, fixed_samples

__all__ = ["Report", "fixed_samples"]
