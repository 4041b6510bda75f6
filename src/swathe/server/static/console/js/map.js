// The map of a job's features: vector tiles of the server, coloured by state or by a value.

import * as maplibre from "../maplibre-gl/maplibre-gl.mjs";
import { address, headersFor, signInAgain } from "./api.js";
import { byState, byValue } from "./colours.js";
import { cssColor } from "./dom.js";
import { followMap } from "./graticule.js";
import { onTheme } from "./theme.js";

const LAYERS = ["features-fill", "features-point"];
const NONE = { type: "FeatureCollection", features: [] };
const COME_AGAIN_MS = 1500;

/** Whether this browser can draw the map. */
export function canDraw() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

export class FeatureMap {
  /** `onpick` gets the id of a feature that was clicked, `onhover` its properties or null. */
  constructor(place, { styleUrl, bounds, tiles, onpick, onhover }) {
    this.place = place;
    this.bounds = bounds;
    this.tiles = tiles;
    this.paint = () => byState();
    this.selected = null;
    this.map = new maplibre.Map({
      container: place,
      style: styleUrl ? new URL(styleUrl, address("")).href : plainStyle(),
      bounds: toBox(bounds),
      fitBoundsOptions: { padding: 30, maxZoom: 17 },
      attributionControl: styleUrl ? { compact: true } : false,
      dragRotate: false,
      pitchWithRotate: false,
      maxZoom: 21,
      renderWorldCopies: false,
      fadeDuration: 0,
      transformRequest: (url) => ({ url, headers: headersFor(url) }),
      locale: { "Map.Title": "Map of the features" },
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.addControl(new maplibre.NavigationControl({ showCompass: false }), "top-right");
    this.map.addControl(new maplibre.ScaleControl({ maxWidth: 120 }), "bottom-right");
    this.map.on("error", (event) => this.#onError(event, Boolean(styleUrl)));
    this.map.on("idle", () => {
      if (this.isLate) this.#repaint();
      else place.setAttribute("aria-busy", "false");
    });
    this.map.on("dataloading", () => place.setAttribute("aria-busy", "true"));
    this.map.on("style.load", () => this.#addLayers(!styleUrl || this.isFallback));
    this.#listen(onpick, onhover);
    this.endTheme = onTheme(() => this.#onTheme());
    this.sizes = new ResizeObserver(() => this.map.resize());
    this.sizes.observe(place);
  }

  destroy() {
    this.endTheme();
    this.sizes.disconnect();
    clearTimeout(this.timer);
    this.map.remove();
  }

  /** Other tiles, or other colours for the same tiles. `range` is none where they show states. */
  show(tiles, range) {
    this.paint = range ? () => byValue(range[0], range[1]) : () => byState();
    const isOther = tiles !== this.tiles;
    if (isOther) {
      this.tiles = tiles;
      this.map.getSource("features")?.setTiles([tiles]);
    }
    // Tiles by state have no values: until those with values are there, they keep their colours.
    this.isLate = isOther && Boolean(range) && !this.hasValues;
    this.hasValues = Boolean(range);
    if (!this.isLate) this.#repaint();
  }

  /** Asks for the tiles again, which stay until the new ones are there. */
  refresh() {
    if (this.map.getSource("features")) this.map.refreshTiles("features");
  }

  /** Resolves when all tiles of this moment are drawn. */
  drawn() {
    return this.map.areTilesLoaded() && !this.map.isMoving()
      ? new Promise((resolve) => requestAnimationFrame(resolve))
      : new Promise((resolve) => this.map.once("idle", resolve));
  }

  /** Marks a feature by its GeoJSON geometry; null marks none. */
  select(geometry) {
    this.selected = geometry;
    this.map.getSource("selected")?.setData(geometry ? outline(geometry) : NONE);
  }

  fit(bounds = this.bounds) {
    this.map.fitBounds(toBox(bounds), { padding: 40, maxZoom: 16, animate: false });
  }

  #addLayers(isPlain) {
    const { map } = this;
    if (map.getSource("features")) return;
    if (isPlain) followMap(map, this.place);
    map.addSource("features", { type: "vector", tiles: [this.tiles], minzoom: 0, maxzoom: 18 });
    map.addSource("selected", { type: "geojson", data: NONE });
    const layer = (id, type, more) => map.addLayer({ id, type, source: "features", "source-layer": "features", ...more });
    const kind = (name) => ["==", ["geometry-type"], name];
    layer("features-fill", "fill", { filter: kind("Polygon"), paint: { "fill-antialias": false } });
    layer("features-line", "line", {
      filter: kind("Polygon"),
      minzoom: 11,
      paint: { "line-width": ["interpolate", ["linear"], ["zoom"], 11, 0.2, 16, 1.2], "line-opacity": 0.8 },
    });
    layer("features-point", "circle", {
      filter: kind("Point"),
      layout: { "circle-sort-key": ["get", "s"] },
      paint: { "circle-radius": ["interpolate", ["linear"], ["zoom"], 4, 1.3, 9, 1.8, 13, 3] },
    });
    map.addLayer({ id: "selected-halo", type: "line", source: "selected", paint: { "line-width": 6, "line-opacity": 0.9 } });
    map.addLayer({ id: "selected-line", type: "line", source: "selected", paint: { "line-width": 2.5 } });
    this.#repaint();
    if (this.selected) this.select(this.selected);
  }

  #repaint() {
    const { map } = this;
    this.isLate = false;
    if (!map.getLayer("features-fill")) return;
    map.setPaintProperty("features-fill", "fill-color", this.paint());
    map.setPaintProperty("features-point", "circle-color", this.paint());
    map.setPaintProperty("features-line", "line-color", cssColor("map"));
    map.setPaintProperty("selected-halo", "line-color", cssColor("map"));
    map.setPaintProperty("selected-line", "line-color", cssColor("mark"));
  }

  #onTheme() {
    if (this.map.getLayer("plain")) {
      this.map.setPaintProperty("plain", "background-color", cssColor("map"));
      this.map.setPaintProperty("graticule", "line-color", cssColor("map-line"));
    }
    this.#repaint();
  }

  #listen(onpick, onhover) {
    const { map } = this;
    const at = (point, reach) => {
      if (!map.getLayer("features-fill")) return null;
      const box = [[point.x - reach, point.y - reach], [point.x + reach, point.y + reach]];
      const found = map.queryRenderedFeatures(reach ? box : point, { layers: LAYERS });
      return found[0] ?? null;
    };
    let pointer = null;
    let isWaiting = false;
    const tell = () => {
      isWaiting = false;
      const found = pointer && at(pointer, 0);
      map.getCanvas().style.cursor = found ? "pointer" : "";
      onhover(found?.properties ?? null);
    };
    map.on("mousemove", ({ point }) => {
      pointer = point;
      if (!isWaiting) requestAnimationFrame(tell);
      isWaiting = true;
    });
    map.on("idle", tell);
    map.on("mouseout", () => {
      pointer = null;
      onhover(null);
    });
    map.on("click", ({ point }) => {
      const found = at(point, 0) ?? at(point, 4);
      if (found) onpick(found.properties.id ?? found.id);
    });
  }

  #onError({ error }, hasStyle) {
    if (error?.status === 401) {
      signInAgain("Your session has ended. Sign in again to go on where you were.").then(() => this.refresh());
    } else if (error?.status === 503) {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), COME_AGAIN_MS);
    } else if (hasStyle && !this.isFallback && !this.map.getSource("features")) {
      this.isFallback = true; // the basemap is away: the features are shown without it
      this.map.setStyle(plainStyle());
    }
  }
}

/** The rings as lines: a polygon that crosses itself has no area, and would not be drawn. */
function outline({ type, coordinates }) {
  const rings = type === "MultiPolygon" ? coordinates.flat() : coordinates;
  return { type: "Feature", properties: {}, geometry: { type: "MultiLineString", coordinates: rings } };
}

function toBox([west, south, east, north]) {
  return [[west, Math.max(-85, south)], [east, Math.min(85, north)]];
}

function plainStyle() {
  return {
    version: 8,
    sources: { graticule: { type: "geojson", data: NONE } },
    layers: [
      { id: "plain", type: "background", paint: { "background-color": cssColor("map") } },
      { id: "graticule", type: "line", source: "graticule", paint: { "line-color": cssColor("map-line"), "line-width": 1 } },
    ],
  };
}
