"""From cells to columns: where a cell lies in a source, which blocks that needs, and the values found there."""
