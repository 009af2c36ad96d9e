"""The figures, one function each, from the evidence of one model or several to a ``drawing.marks.Chart``.

Each raises MissingEvidence where no model has what it draws; what only some of them lack is in ``Chart.missing``.
"""
