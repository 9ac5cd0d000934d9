"""The verification report: a terminal table, report.json and one self-contained report.html."""

from verification.report.html import render_page
from verification.report.store import read_report, violations, write_report
from verification.report.table import render_table

__all__ = ["read_report", "render_page", "render_table", "violations", "write_report"]
