// What EO Browser and its like do with @sentinel-hub/sentinelhub-js, against the server at SWATHE_URL; prints JSON.
// The package has its hosts written into it; the interceptor that it offers changes them.

import {
  ApiType, BBox, BYOCLayer, CRS_EPSG4326, Interpolator, LocationIdSHv3, MimeTypes, MosaickingOrder, S2L2ALayer,
  StatisticalApi, StatisticsProviderType, StatisticsUtils, addAxiosRequestInterceptor, requestAuthToken, setAuthToken,
  setDefaultRequestsConfig,
} from '@sentinel-hub/sentinelhub-js';

const { SWATHE_URL, CLIENT_ID, CLIENT_SECRET, COLLECTION, INSTANCE, WEST, SOUTH, EAST, NORTH } = process.env;
addAxiosRequestInterceptor(async config => {
  config.url = config.url.replace(/^https:\/\/services[a-z0-9-]*\.sentinel-hub\.com/, SWATHE_URL);
  return config;
});
setDefaultRequestsConfig({ retries: 0 });

const PICTURE = `//VERSION=3
function setup() { return {input: [{bands: ["B04", "B08"], units: "DN"}], output: {bands: 3, sampleType: "UINT8"}} }
function evaluatePixel(s) { return [s.B04 % 256, s.B08 % 256, 7] }`;
const NDVI = `//VERSION=3
function setup() {
  return {
    input: [{bands: ["B04", "B08", "dataMask"]}],
    output: [{id: "default", bands: 1, sampleType: "FLOAT32"}, {id: "dataMask", bands: 1}]
  }
}
function evaluatePixel(s) { return {default: [(s.B08 - s.B04) / (s.B08 + s.B04)], dataMask: [s.dataMask]} }`;
const bbox = new BBox(CRS_EPSG4326, Number(WEST), Number(SOUTH), Number(EAST), Number(NORTH));
const fromTime = new Date('2020-06-01T00:00:00Z');
const toTime = new Date('2020-06-30T23:59:59Z');
const found = {};

found.refused = await requestAuthToken('nobody', 'at all').catch(error => [error.response.status, error.response.data.error]);
setAuthToken(await requestAuthToken(CLIENT_ID, CLIENT_SECRET));

const picture = new S2L2ALayer({
  evalscript: PICTURE, maxCloudCoverPercent: 90, mosaickingOrder: MosaickingOrder.LEAST_RECENT,
  upsampling: Interpolator.NEAREST, downsampling: Interpolator.NEAREST,
});
found.images = {};
for (const format of [MimeTypes.PNG, MimeTypes.JPEG, 'image/tiff', 'image/tiff;depth=8']) {
  const params = { bbox, fromTime, toTime, width: 40, height: 30, format };
  found.images[format] = Buffer.from(await picture.getMap(params, ApiType.PROCESSING)).toString('base64');
}

const saved = new S2L2ALayer({ instanceId: INSTANCE, layerId: 'PICTURE' });
found.saved = [];
for (const api of [ApiType.WMS, ApiType.PROCESSING]) {
  const params = { bbox, fromTime, toTime, width: 40, height: 30, format: MimeTypes.PNG };
  found.saved.push(Buffer.from(await saved.getMap(params, api)).toString('base64'));
}

found.tiles = await picture.findTiles(bbox, fromTime, toTime, 2, 0);
found.rest = await picture.findTiles(bbox, fromTime, toTime, 2, 2);
found.dates = await picture.findDatesUTC(bbox, fromTime, toTime);

const params = { bbox, fromTime, toTime, width: 1, height: 1, resolution: 0.0005, bins: 5, aggregationInterval: 'P1D' };
const ndvi = new S2L2ALayer({ evalscript: NDVI });
const answer = await new StatisticalApi().getStatistics(`${SWATHE_URL}/api/v1/statistics`, {
  input: await StatisticsUtils.createInputPayload(ndvi, params, {}),
  aggregation: StatisticsUtils.createAggregationPayload(ndvi, params),
  calculations: StatisticsUtils.createCalculationsPayload(ndvi, params),
});
found.statistics = StatisticsUtils.convertToFISResponse(answer.data);

const own = new BYOCLayer({ collectionId: COLLECTION, locationId: LocationIdSHv3.awsEuCentral1, evalscript: NDVI });
found.ownBands = await own.getAvailableBands();
found.ownTiles = await own.findTiles(bbox, fromTime, toTime, 5, 0);
found.ownStatistics = await own.getStats(
  { geometry: bbox.toGeoJSON(), bbox, crs: CRS_EPSG4326, fromTime, toTime, resolution: 0.0005, bins: 5 }, {},
  StatisticsProviderType.STAPI,
);
// its cache has timers that would keep node alive for half an hour
process.stdout.write(JSON.stringify(found), () => process.exit(0));
