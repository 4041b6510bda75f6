"""Features: the polygons of a GeoPackage."""
