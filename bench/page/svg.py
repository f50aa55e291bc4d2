"""A drawing, made of a few elements of SVG; every text and attribute is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

MARK_RADIUS = 3.6

SHAPES: Mapping[str, tuple[tuple[float, float], ...]] = {
    "diamond": ((0, -4.6), (4.6, 0), (0, 4.6), (-4.6, 0)),
    "square": ((-3.6, -3.6), (3.6, -3.6), (3.6, 3.6), (-3.6, 3.6)),
    "triangle": ((0, -4.6), (4.6, 3.6), (-4.6, 3.6)),
}
"""Marks that are no circle, as points around their middle."""


class Drawing:
    """Collects elements and becomes one `<svg>`; colours and strokes come from the page by class."""

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width = width
        self.height = height
        self.label = label
        self.mark_count = 0
        self._elements: list[Markup] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, classes: str) -> None:
        """Draw a straight line."""
        self._add("line", classes, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Sequence[tuple[float, float]], classes: str, *, closed: bool = False) -> None:
        """Draw a line through points."""
        steps = " ".join(f"{_short(x)},{_short(y)}" for x, y in points)
        self._add("polygon" if closed else "polyline", classes, points=steps)

    def area(self, x: float, y: float, width: float, height: float, classes: str) -> None:
        """Draw a rectangle."""
        self._add("rect", classes, x=x, y=y, width=width, height=height)

    def text(self, x: float, y: float, content: str, classes: str = "", anchor: str = "start") -> None:
        """Write a line of text, beginning, centred or ending there."""
        self._add("text", classes, content=content, x=x, y=y, text_anchor=anchor)

    def mark(self, shape: str, x: float, y: float, classes: str, told: str) -> None:
        """Draw one value as a shape that tells itself under the pointer; without marks a plot is empty."""
        if shape == "circle":
            self.mark_count += 1
            self._add("circle", f"mark {classes}", told=told, cx=x, cy=y, r=MARK_RADIUS)
        else:
            points = [(x + dx, y + dy) for dx, dy in SHAPES[shape]]
            self.marked_path(points, classes, told, closed=True)

    def marked_path(
        self, points: Sequence[tuple[float, float]], classes: str, told: str, *, closed: bool = False
    ) -> None:
        """Draw a line or a shape that is itself the value."""
        self.mark_count += 1
        steps = " ".join(f"{_short(x)},{_short(y)}" for x, y in points)
        self._add("polygon" if closed else "polyline", f"mark {classes}", told=told, points=steps)

    def marked_area(self, x: float, y: float, width: float, height: float, classes: str, told: str) -> None:
        """Draw a bar that is itself the value; it is never too thin to be seen."""
        self.mark_count += 1
        shown = max(width, 1.0)
        self._add("rect", f"mark {classes}", told=told, x=x, y=y, width=shown, height=height)

    def finished(self) -> Markup:
        """Give the whole drawing."""
        head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" data-marks="{}">').format(
            _short(self.width), _short(self.height), self.label, self.mark_count
        )
        return head + Markup("").join(self._elements) + Markup("</svg>")

    def _add(
        self, name: str, classes: str, *, content: str = "", told: str = "", **attributes: str | float
    ) -> None:
        named = {"class": classes, **attributes} if classes else attributes
        written = Markup("").join(
            Markup(' {}="{}"').format(
                key.replace("_", "-"), value if isinstance(value, str) else _short(value)
            )
            for key, value in named.items()
        )
        title = Markup("<title>{}</title>").format(told) if told else Markup()
        # The name is one of this file's own words, never data.
        self._elements.append(Markup(f"<{name}{written}>{title}{escape(content)}</{name}>"))  # noqa: S704


def _short(value: float) -> str:
    """Write a coordinate with a tenth of a pixel at most."""
    return f"{value:.1f}".rstrip("0").rstrip(".")
