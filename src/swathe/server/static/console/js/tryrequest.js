// The requests that the form makes: to the Process, the Statistical and the batch API. Values in, values out.

import { boxOf, mapGeometry, toUtm, zoneOf } from "./utm.js";

const CRS = "http://www.opengis.net/def/crs/EPSG/0/";
const AROUND = 0.3;
const MOST_PX = 1000;

const RED_AND_NIR = [["B04", "B08"], ["B04", "B8A"], ["red", "nir"], ["red", "nir08"], ["Red", "NIR"]];

/** A script to begin with: NDVI where the collection has bands that are known for it, else its first band. */
export function exampleFor(bands) {
  const names = bands.map(({ name }) => name);
  const pair = RED_AND_NIR.find((two) => two.every((name) => names.includes(name)));
  if (!pair && names.length) return script("value", [names[0]], sample(names[0]));
  const [red, nir] = pair ?? RED_AND_NIR[0];
  return script("ndvi", [red, nir], `(${sample(nir)} - ${sample(red)}) / (${sample(nir)} + ${sample(red)})`);
}

function sample(band) {
  return /^[A-Za-z_$][\w$]*$/.test(band) ? `sample.${band}` : `sample[${JSON.stringify(band)}]`;
}

function script(output, bands, value) {
  return `//VERSION=3
function setup() {
  return {
    input: [{ bands: [${[...bands, "dataMask"].map((name) => JSON.stringify(name)).join(", ")}] }],
    output: [
      { id: "${output}", bands: ["value"], sampleType: "FLOAT32" },
      { id: "dataMask", bands: 1 }
    ]
  };
}

function evaluatePixel(sample) {
  return {
    ${output}: [${value}],
    dataMask: [sample.dataMask]
  };
}
`;
}

/** The polygon in a GeoJSON text: a geometry, a feature, or the first of a collection. Raises an Error that says why not. */
export function readGeometry(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch {
    throw new Error("The field must be GeoJSON: a polygon in longitude and latitude.");
  }
  const geometry = given?.features?.[0]?.geometry ?? given?.geometry ?? given;
  const places = [];
  try {
    if (!["Polygon", "MultiPolygon"].includes(geometry.type)) throw new Error();
    mapGeometry(geometry, (place) => places.push(place));
  } catch {
    throw new Error("The field must be a Polygon or a MultiPolygon of GeoJSON.");
  }
  const isPlace = ([x, y]) => Math.abs(x) <= 180 && Math.abs(y) <= 90;
  if (!places.length || !places.every(isPlace)) throw new Error("The field's coordinates must be longitude and latitude, in degrees.");
  return { type: geometry.type, coordinates: geometry.coordinates };
}

/** The geometry in the CRS of the resolution: UTM for metres, else as it is. */
export function project(geometry, isMetres) {
  if (!isMetres) return { geometry, epsg: 4326 };
  const [west, south, east, north] = boxOf(geometry);
  const epsg = zoneOf([(west + east) / 2, (south + north) / 2]);
  const rounded = (place) => toUtm(place, epsg).map((one) => Math.round(one * 1000) / 1000);
  return { geometry: mapGeometry(geometry, rounded), epsg };
}

/** A day as the beginning of it; a time as it is. */
export function toTime(text) {
  return /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text;
}

function sources(form, timeRange) {
  return form.data.map((source) => {
    const { maxCloudCoverage, timeRange: _, ...filter } = source.dataFilter ?? {};
    if (form.clouds !== null) filter.maxCloudCoverage = form.clouds;
    if (timeRange) filter.timeRange = timeRange;
    const { dataFilter, ...rest } = source;
    return Object.keys(filter).length ? { ...rest, dataFilter: filter } : rest;
  });
}

function aggregation(form) {
  return {
    timeRange: { from: toTime(form.from), to: toTime(form.to) },
    aggregationInterval: { of: form.of },
    resx: form.resolution,
    resy: form.resolution,
    evalscript: form.script,
  };
}

function calculations(form) {
  if (!form.percentiles.length) return {};
  return { calculations: { default: { statistics: { default: { percentiles: { k: form.percentiles } } } } } };
}

export function statisticsRequest(form) {
  const { geometry, epsg } = project(form.geometry, form.isMetres);
  return {
    input: { bounds: { geometry, properties: { crs: `${CRS}${epsg}` } }, data: sources(form) },
    aggregation: aggregation(form),
    ...calculations(form),
  };
}

/** The image of the field and what lies around it, with the box that it is of. */
export function pictureRequest(form, { output, timeRange }) {
  const { geometry, epsg } = project(form.geometry, form.isMetres);
  const [west, south, east, north] = boxOf(geometry);
  const margin = Math.max(AROUND * Math.max(east - west, north - south), 3 * form.resolution);
  const step = form.resolution;
  const box = [
    Math.floor((west - margin) / step) * step,
    Math.floor((south - margin) / step) * step,
    Math.ceil((east + margin) / step) * step,
    Math.ceil((north + margin) / step) * step,
  ];
  const sides = [box[2] - box[0], box[3] - box[1]].map((one) => Math.max(1, Math.round(one / step)));
  const shrink = Math.min(1, MOST_PX / Math.max(...sides));
  const [width, height] = sides.map((one) => Math.max(1, Math.round(one * shrink)));
  const request = {
    input: { bounds: { bbox: box, properties: { crs: `${CRS}${epsg}` } }, data: sources(form, timeRange) },
    output: { width, height, responses: [{ identifier: output, format: { type: "image/tiff" } }] },
    evalscript: form.script,
  };
  return { request, box, geometry };
}

export function batchRequest(form) {
  const place = (url, keys) => ({ s3: { url, ...(keys.accessKey ? keys : {}) } });
  return {
    input: { features: place(form.featuresUrl, form.keys), data: sources(form) },
    aggregation: aggregation(form),
    ...calculations(form),
    output: place(form.outputUrl, form.keys),
    ...(form.description ? { description: form.description } : {}),
  };
}

/** The ids of the outputs that a script seems to have, images first. */
export function outputsOf(script) {
  const found = [...script.matchAll(/\bid\s*:\s*["'`]([\w-]+)["'`]/g)].map((match) => match[1]);
  const names = [...new Set(found)].sort((a, b) => (a === "dataMask") - (b === "dataMask"));
  return names.length ? names : ["default"];
}

/** The answer of the Statistical API as columns, as the console has those of a feature. */
export function toSeries({ data = [] }) {
  const plain = ["mean", "stDev", "min", "max", "sampleCount", "noDataCount"];
  const series = {};
  const empty = () => data.map(() => null);
  const number = (one) => (typeof one === "number" && Number.isFinite(one) ? one : null);
  data.forEach((entry, place) => {
    for (const [output, told] of Object.entries(entry.outputs ?? {})) {
      for (const [band, { stats = {} }] of Object.entries(told.bands ?? {})) {
        const bands = (series[output] ??= {});
        const columns = (bands[band] ??= { ...Object.fromEntries(plain.map((name) => [name, empty()])), percentiles: {} });
        for (const name of plain) columns[name][place] = number(stats[name]);
        for (const [percent, one] of Object.entries(stats.percentiles ?? {})) {
          (columns.percentiles[`p${percent}`] ??= empty())[place] = number(one);
        }
      }
    }
  });
  const errors = data.map(({ error }) => (error ? [error.type, error.message].filter(Boolean).join(": ") : null));
  return { intervals: data.map(({ interval }) => interval), errors, series };
}
