"""Where samples are taken: the grid of a feature and the cells that belong to its polygon. Pure values."""
