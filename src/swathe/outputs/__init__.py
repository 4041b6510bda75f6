"""Results in the forms in which they are delivered."""
