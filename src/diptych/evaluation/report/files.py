"""The report's files: report.html, report.md and comparison.json, each whole or not there."""

from pathlib import Path

from diptych.core.files import write_text
from diptych.evaluation.report.charts import require
from diptych.evaluation.report.markdown import markdown
from diptych.evaluation.report.page import page
from diptych.evaluation.report.record import to_json
from diptych.evaluation.result import Comparison


def write_report(comparison: Comparison, folder: str | Path) -> Path:
    """Write all three into `folder`, which is made where there is none, and give the path of report.html. DiptychError
    when the packages that draw charts are missing (`charts.require` asks beforehand); the other two are there then."""
    folder = Path(folder)
    write_text(folder / "comparison.json", to_json(comparison))
    write_text(folder / "report.md", markdown(comparison))
    require()
    write_text(folder / "report.html", page(comparison))
    return folder / "report.html"
