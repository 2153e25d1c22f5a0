"""Numbers -> one HTML file that opens anywhere, without a network."""

from __future__ import annotations

from malgil.report.run_report import DataFacts, RunFacts, render_run
from malgil.report.verdict import verdict

__all__ = ["DataFacts", "RunFacts", "render_run", "verdict"]
