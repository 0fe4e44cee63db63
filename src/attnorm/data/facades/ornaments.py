"""What stands proud of the wall: cornices, bands, pilasters, fins, piers, timber."""

from collections.abc import Callable

from attnorm.data.facades.canvas import Canvas
from attnorm.data.facades.colour import mix, shade
from attnorm.data.facades.plan import Plan
from attnorm.data.facades.regions import TRIM
from attnorm.data.facades.windows import draw_ledge, window_box


def draw_ornaments(canvas: Canvas, plan: Plan) -> None:
    """Everything that belongs to the style, before the windows are cut."""
    for name in plan.style.ornaments:
        ORNAMENTS[name](canvas, plan)


def _upright(canvas: Canvas, plan: Plan, span: tuple[float, float, float], bottom: float, tone: float) -> None:
    """A vertical strip (left, right, top) in the wall's or trim's colour, bright on the side of the sun."""
    left, right, top = span
    colour = shade(plan.trim, tone)
    canvas.cast((left, top, right, bottom), 2.0)
    canvas.box((left, top, right, bottom), colour, TRIM)
    sunny = (left, left + 0.8) if canvas.light.slant > 0 else (right - 0.8, right)
    canvas.box((sunny[0], top, sunny[1], bottom), shade(colour, 1.12), TRIM)


def _cornice(canvas: Canvas, plan: Plan) -> None:
    """A stepped moulding under the eaves, with a row of dentils."""
    left, right, y = plan.left, plan.right, plan.eaves
    count = int((right - left) / 4)
    draw_ledge(canvas, (left - 0.5, y + 2.6, right + 0.5, y + 4.6), plan.trim, 2)
    for step in range(count):
        x = left + (right - left) * (step + 0.25) / count
        canvas.box((x, y + 1.4, x + 2, y + 3.2), shade(plan.trim, 0.86), TRIM)
    draw_ledge(canvas, (left - 2, y - 0.8, right + 2, y + 1.6), plan.trim, 4)


def _bands(canvas: Canvas, plan: Plan) -> None:
    """A string course at every floor, and a plinth."""
    for floor in plan.floors[1:-1]:
        draw_ledge(canvas, (plan.left - 0.4, floor - 0.9, plan.right + 0.4, floor + 1.1), plan.trim, 1.6)
    canvas.box((plan.left, plan.ground - 5, plan.right, plan.ground), shade(plan.trim, 0.8), TRIM)


def _pilasters(canvas: Canvas, plan: Plan) -> None:
    """Flat columns at the corners and in the middle of the front."""
    edges = plan.edges()
    for x in (edges[0] + 2.2, edges[len(edges) // 2], edges[-1] - 2.2):
        _upright(canvas, plan, (x - 1.8, x + 1.8, plan.eaves + 4), plan.floors[1], 0.97)


def _fins(canvas: Canvas, plan: Plan) -> None:
    """Thin vertical ribs between the bays that break through the roof line in the middle."""
    edges = plan.edges()
    centre = (plan.left + plan.right) / 2
    for x in edges[1:-1]:
        nearness = 1 - abs(x - centre) / (centre - plan.left)
        top = plan.eaves - plan.roof_height * (0.1 + 0.8 * nearness)
        for offset in (-1.7, 0.7):
            _upright(canvas, plan, (x + offset, x + offset + 1.4, top), plan.floors[1], 1.0)


def _eyebrows(canvas: Canvas, plan: Plan) -> None:
    """Thin slabs that shade each row of windows, and stripes between storeys."""
    for storey in range(1, plan.storeys):
        for bay in range(plan.bays):
            left, top, right, bottom = window_box(plan, plan.cell(storey, bay))
            draw_ledge(canvas, (left - 2, top - 3, right + 2, top - 1.4), plan.trim, 4)
            for step in range(3):
                y = bottom + 2 + 1.6 * step
                canvas.box((left, y, right, y + 0.7), plan.trim, TRIM)
    canvas.box((plan.left, plan.ground - 6, plan.right, plan.ground), shade(plan.accent, 0.8), TRIM)


def _spandrels(canvas: Canvas, plan: Plan) -> None:
    """Slab edges at every floor and coloured panels under the windows."""
    for storey in range(1, plan.storeys):
        for bay in range(plan.bays):
            left, _, right, bottom = window_box(plan, plan.cell(storey, bay))
            canvas.box((left, bottom, right, plan.floors[storey] - 1), mix(plan.wall, plan.accent, 0.5), TRIM)
        draw_ledge(
            canvas,
            (plan.left, plan.floors[storey] - 1, plan.right, plan.floors[storey] + 0.6),
            plan.trim,
            1.2,
        )


def _piers(canvas: Canvas, plan: Plan) -> None:
    """Brick piers between the bays, tied by a band under the roof."""
    for x in plan.edges():
        _upright(canvas, plan, (x - 2.2, x + 2.2, plan.eaves + 3), plan.ground, 0.72)
    draw_ledge(canvas, (plan.left - 1, plan.eaves, plan.right + 1, plan.eaves + 3), shade(plan.trim, 0.85), 2.5)


def _timber(canvas: Canvas, plan: Plan) -> None:
    """Posts, rails and braces; each upper storey juts out a little over the one below."""
    for floor in plan.floors[1:]:
        draw_ledge(canvas, (plan.left - 1, floor - 1.6, plan.right + 1, floor + 1.6), plan.trim, 3)
    for storey in range(plan.storeys):
        _timber_storey(canvas, plan, storey)
    if plan.roof == "gable":
        _timber_gable(canvas, plan)


def _timber_storey(canvas: Canvas, plan: Plan, storey: int) -> None:
    bottom, top = plan.floors[storey], plan.floors[storey + 1]
    _, head, _, sill = window_box(plan, plan.cell(storey, 0))
    for y in (head - 1, sill + 2.6):
        canvas.line((plan.left, y), (plan.right, y), 1.7, plan.trim, TRIM)
    for bay, x in enumerate(plan.edges()):
        x = min(max(x, plan.left + 1.3), plan.right - 1.3)
        canvas.line((x, top), (x, bottom), 2.6, plan.trim, TRIM)
        reach = 0.34 * plan.bay_width
        # Braces lean outwards on the outer posts and form a K on every second inner one.
        if bay in (0, plan.bays):
            inward = reach if bay == 0 else -reach
            canvas.line((x, top), (x + inward, bottom), 2.0, plan.trim, TRIM)
        elif (bay + storey) % 2:
            for side in (-0.6 * reach, 0.6 * reach):
                canvas.line((x, sill + 2.6), (x + side, bottom), 1.8, plan.trim, TRIM)


def _timber_gable(canvas: Canvas, plan: Plan) -> None:
    centre, half = (plan.left + plan.right) / 2, (plan.right - plan.left) / 2
    for share in (0.36, 0.68):
        reach, y = half * (1 - share), plan.eaves - plan.roof_height * share
        canvas.line((centre - reach, y), (centre + reach, y), 2.0, plan.trim, TRIM)
    for step in range(-3, 4):
        x = centre + half * step / 4
        canvas.line((x, plan.eaves), (x, plan.eaves - plan.roof_height * (1 - abs(step) / 4)), 1.8, plan.trim, TRIM)


ORNAMENTS: dict[str, Callable[[Canvas, Plan], None]] = {
    "cornice": _cornice,
    "bands": _bands,
    "pilasters": _pilasters,
    "fins": _fins,
    "eyebrows": _eyebrows,
    "spandrels": _spandrels,
    "piers": _piers,
    "timber": _timber,
}
