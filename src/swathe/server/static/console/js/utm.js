// Longitude and latitude to UTM, so that a resolution can be said in metres.

const A = 6378137;
const F = 1 / 298.257223563;
const N = F / (2 - F);
const K0 = 0.9996;
const R = (A / (1 + N)) * (1 + N ** 2 / 4 + N ** 4 / 64);
// Krüger's series to the third order in n: good to a millimetre within a zone.
const ALPHA = [N / 2 - (2 / 3) * N ** 2 + (5 / 16) * N ** 3, (13 / 48) * N ** 2 - (3 / 5) * N ** 3, (61 / 240) * N ** 3];
const E = (2 * Math.sqrt(N)) / (1 + N);

/** The EPSG code of the zone that a place lies in, without the exceptions of Norway and Svalbard. */
export function zoneOf([longitude, latitude]) {
  const zone = Math.min(60, Math.max(1, Math.floor((longitude + 180) / 6) + 1));
  return (latitude < 0 ? 32700 : 32600) + zone;
}

/** A place in metres of the zone with this EPSG code. */
export function toUtm([longitude, latitude], epsg) {
  const zone = epsg % 100;
  const [phi, lambda] = [(latitude * Math.PI) / 180, ((longitude - (zone * 6 - 183)) * Math.PI) / 180];
  const t = Math.sinh(Math.atanh(Math.sin(phi)) - E * Math.atanh(E * Math.sin(phi)));
  const xi = Math.atan2(t, Math.cos(lambda));
  const eta = Math.atanh(Math.sin(lambda) / Math.hypot(1, t));
  let [x, y] = [eta, xi];
  ALPHA.forEach((alpha, index) => {
    const j = 2 * (index + 1);
    x += alpha * Math.cos(j * xi) * Math.sinh(j * eta);
    y += alpha * Math.sin(j * xi) * Math.cosh(j * eta);
  });
  return [500_000 + K0 * R * x, (epsg >= 32700 ? 10_000_000 : 0) + K0 * R * y];
}

/** A geometry with `change` done to every position. */
export function mapGeometry(geometry, change) {
  const deep = (part) => (typeof part[0] === "number" ? change(part) : part.map(deep));
  return { type: geometry.type, coordinates: deep(geometry.coordinates) };
}

/** West, south, east and north of a geometry, in its own units. */
export function boxOf(geometry) {
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  mapGeometry(geometry, ([x, y]) => {
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x);
    box[3] = Math.max(box[3], y);
    return [x, y];
  });
  return box;
}
