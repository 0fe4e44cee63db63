"""The parts of a facade that the region map tells apart."""

REGIONS: tuple[str, ...] = (
    "sky",
    "roof",
    "wall",
    "window",
    "door",
    "balcony",
    "trim",
    "shop",
    "tree",
    "ground",
)

SKY, ROOF, WALL, WINDOW, DOOR, BALCONY, TRIM, SHOP, TREE, GROUND = range(len(REGIONS))
