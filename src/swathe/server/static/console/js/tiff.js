// Reads the GeoTIFFs that the Process API answers with: deflated or plain, strips or tiles, bands pixel by pixel.

const WIDTH = 256, HEIGHT = 257, BITS = 258, PACKING = 259, SAMPLES = 277, PREDICTOR = 317, FORMAT = 339, NO_DATA = 42113;
const STRIPS = [273, 278, 279];
const TILES = [324, 322, 325, 323];
const SIZES = { 1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 12: 8, 16: 8 };
const TYPES = {
  "1-8": Uint8Array, "1-16": Uint16Array, "1-32": Uint32Array,
  "2-8": Int8Array, "2-16": Int16Array, "2-32": Int32Array,
  "3-32": Float32Array, "3-64": Float64Array,
};

/** An image as `{width, height, bands, values, isByte, noData}`: values pixel by pixel, bands side by side. */
export async function readTiff(buffer) {
  const view = new DataView(buffer);
  if (view.getUint16(0) !== 0x4949 || view.getUint16(2, true) !== 42) throw new Error("The image is not a TIFF that this page reads.");
  const tags = readTags(view);
  const one = (tag, otherwise) => tags.get(tag)?.[0] ?? otherwise;
  const [width, height, bands] = [one(WIDTH), one(HEIGHT), one(SAMPLES, 1)];
  const Type = TYPES[`${one(FORMAT, 1)}-${one(BITS, 1)}`];
  if (!Type) throw new Error("The image has numbers of a kind that this page does not read.");
  const isTiled = tags.has(TILES[0]);
  const across = isTiled ? one(TILES[1]) : width;
  const down = isTiled ? one(TILES[3]) : Math.min(height, one(STRIPS[1], height));
  const [starts, lengths] = isTiled ? [tags.get(TILES[0]), tags.get(TILES[2])] : [tags.get(STRIPS[0]), tags.get(STRIPS[2])];
  const perRow = Math.ceil(width / across);
  const values = new Type(width * height * bands);
  await Promise.all(starts.map(async (start, number) => {
    const packed = new Uint8Array(buffer, start, lengths[number]);
    const bytes = await unpack(packed, one(PACKING, 1));
    const block = new Type(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / Type.BYTES_PER_ELEMENT));
    if (one(PREDICTOR, 1) === 2) addUp(block, across, bands);
    const [left, top] = [(number % perRow) * across, Math.floor(number / perRow) * down];
    const [columns, rows] = [Math.min(across, width - left), Math.min(down, height - top)];
    for (let row = 0; row < rows; row += 1) {
      const from = row * across * bands;
      values.set(block.subarray(from, from + columns * bands), ((top + row) * width + left) * bands);
    }
  }));
  const noData = tags.has(NO_DATA) ? Number.parseFloat(String.fromCharCode(...tags.get(NO_DATA))) : null;
  return { width, height, bands, values, isByte: Type === Uint8Array, noData };
}

function readTags(view) {
  const tags = new Map();
  const start = view.getUint32(4, true);
  const count = view.getUint16(start, true);
  for (let number = 0; number < count; number += 1) {
    const at = start + 2 + number * 12;
    const [tag, type, length] = [view.getUint16(at, true), view.getUint16(at + 2, true), view.getUint32(at + 4, true)];
    const size = SIZES[type];
    if (!size) continue;
    const place = size * length > 4 ? view.getUint32(at + 8, true) : at + 8;
    const read = { 1: (p) => view.getUint8(p), 2: (p) => view.getUint8(p), 3: (p) => view.getUint16(p, true), 4: (p) => view.getUint32(p, true) }[type];
    if (read) tags.set(tag, Array.from({ length }, (_, index) => read(place + index * size)));
  }
  return tags;
}

async function unpack(packed, packing) {
  if (packing === 1) return packed.slice();
  if (packing !== 8 && packing !== 32946) throw new Error("The image is packed in a way that this page does not read.");
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Undoes the differences along rows, of the bits as whole numbers where the values are floating point. */
function addUp(block, across, bands) {
  const bits = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[block.BYTES_PER_ELEMENT];
  const whole = new bits(block.buffer, block.byteOffset, block.length);
  const stride = across * bands;
  for (let row = 0; row < whole.length; row += stride) {
    for (let place = row + bands; place < row + stride; place += 1) whole[place] += whole[place - bands];
  }
}
