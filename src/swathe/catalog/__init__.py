"""Collections, and the scenes in them."""
