"""Which captions a model takes for true that are not."""

import numpy as np

from clipbench.results import numbers as fmt
from clipbench_reports.galleries.failures import MARGINS, lost_captions
from clipbench_reports.page.evidence import Evidence, MissingEvidence
from clipbench_reports.page.tables.classes import Table

MAX_CHOICES = 15


def lost_choices(evidence: Evidence) -> Table:
    """Return the choices of captions that were lost by the widest margin.

    Raises:
        MissingEvidence: nothing was chosen among captions, or no choice was lost.
    """
    caption, preferred, subset = (evidence.column(name).astype(str) for name in ("caption", "preferred", "subset"))
    is_lost, margin = lost_captions(evidence)
    lost = np.flatnonzero(is_lost)
    if not len(lost):
        raise MissingEvidence("no choice among captions was lost")
    worst = lost[np.argsort(margin[lost], kind="stable")][:MAX_CHOICES]
    return Table(
        title=f"Choices lost by the most ({fmt.counted(len(lost), 'item')} lost in all)",
        note=f"Shown is each item's worst image. {MARGINS[evidence.has_column('text_margin')]}",
        columns=["True caption", "Preferred", "Subset", "Margin, cosine"],
        rows=[
            [caption[row], preferred[row], subset[row] or fmt.NONE, fmt.number(margin[row], "cosine")]
            for row in worst.tolist()
        ],
        n_words=3,
    )
