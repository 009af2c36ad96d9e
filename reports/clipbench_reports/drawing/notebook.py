"""A figure of matplotlib that a notebook shows, though it is none of pyplot's."""

from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

DPI = 200


class NotebookFigure(Figure):
    """A figure with an image of its own for notebooks: IPython asks pyplot for that of others."""

    file_dpi: int | None = None
    """Resolution of its files, where that is not matplotlib's to choose."""

    def savefig(self, *file: Any, **options: Any) -> None:
        """Write the figure as matplotlib does."""
        given = {} if self.file_dpi is None else {"dpi": self.file_dpi}
        super().savefig(*file, **given | options)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Return a PNG with twice the pixels that it takes on the screen, and the width there."""
        image = BytesIO()
        self.savefig(image, format="png", dpi=DPI)
        return image.getvalue(), {"width": round(self.get_figwidth() * DPI / 2)}
