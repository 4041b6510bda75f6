// The built-in functions of evalscript V3, as ordinary globals that a script may define anew.
// Every member is a configurable property of the global object, so that `const index = …` at a script's top is no clash.
(function (global) {
  "use strict";

  const JAVA_DOUBLE_MAX_VAL = 1.7976931348623157e308;

  const index = (x, y) => (x + y != 0 ? (x - y) / (x + y) : 0);
  const inverse = (x) => (x != 0 ? 1 / x : JAVA_DOUBLE_MAX_VAL);

  const int2rgb = (color) => [(color >>> 16) & 0xff, (color >>> 8) & 0xff, color & 0xff];
  const rgb2int = (rgb) => (rgb[0] << 16) + (rgb[1] << 8) + (rgb[2] << 0);
  const normalizeRGB = (rgb) => rgb.map((channel) => channel / 255);

  // Lists are combined component by component; two whole colours 0xRRGGBB give a whole colour.
  function combine(color1, color2, alpha) {
    if (typeof color1 === "number" && typeof color2 === "number") {
      const first = int2rgb(color1);
      const second = int2rgb(color2);
      return rgb2int([0, 1, 2].map((i) => Math.round(first[i] * alpha + second[i] * (1 - alpha))));
    }
    return color1.map((component, i) => component * alpha + color2[i] * (1 - alpha));
  }

  function valueMap(value, intervals, values) {
    if (!Array.isArray(intervals) || !Array.isArray(values)) return value;
    for (let i = 0; i < intervals.length; i++) {
      if (value <= intervals[i]) return values[i];
    }
    return values[values.length - 1];
  }

  const copied = (value) => (Array.isArray(value) ? value.slice() : value);

  function valueInterpolate(value, intervals, values) {
    if (!Array.isArray(intervals) || !Array.isArray(values)) return value;
    if (value <= (intervals.length > 0 ? intervals[0] : 0)) return copied(values[0]);
    for (let i = 1; i < intervals.length; i++) {
      if (value <= intervals[i]) {
        const ratio = (value - intervals[i - 1]) / (intervals[i] - intervals[i - 1]);
        const below = values[i - 1];
        const above = values[i];
        if (!Array.isArray(below)) return below * (1 - ratio) + above * ratio;
        const result = new Array(below.length);
        for (let k = 0; k < below.length; k++) result[k] = below[k] * (1 - ratio) + above[k] * ratio;
        return result;
      }
    }
    return copied(values[values.length - 1]);
  }

  const blueRed = [
    [1.0, 0x000080],
    [0.875, 0x0000ff],
    [0.625, 0x00ffff],
    [0.375, 0xffff00],
    [0.125, 0xff0000],
    [0.0, 0x800000],
  ];
  const redTemperature = [
    [1.0, 0x000000],
    [0.525, 0xae0000],
    [0.3, 0xff6e00],
    [0.25, 0xff8600],
    [0.0, 0xffffff],
  ];
  const greenWhite = [
    [1.0, 0x000000],
    [0.6, 0x006600],
    [0.3, 0x80b300],
    [0.0, 0xffffff],
  ];
  const oceanColor = [
    [0.0, [147, 0, 108]],
    [0.0471, [111, 0, 144]],
    [0.098, [72, 0, 183]],
    [0.149, [33, 0, 222]],
    [0.2, [0, 10, 255]],
    [0.2471, [0, 74, 255]],
    [0.298, [0, 144, 255]],
    [0.349, [0, 213, 255]],
    [0.4, [0, 255, 215]],
    [0.4471, [0, 255, 119]],
    [0.498, [0, 255, 15]],
    [0.549, [96, 255, 0]],
    [0.6, [200, 255, 0]],
    [0.6471, [255, 235, 0]],
    [0.698, [255, 183, 0]],
    [0.749, [255, 131, 0]],
    [0.8, [255, 79, 0]],
    [0.8471, [255, 31, 0]],
    [0.898, [230, 0, 0]],
    [0.949, [165, 0, 0]],
    [1.0, [105, 0, 0]],
  ].map(([value, rgb]) => [value, normalizeRGB(rgb)]);

  class Visualizer {
    processList(values) {
      return values.map((value, i) => this.process(value, i));
    }
  }

  class ColorMapVisualizer extends Visualizer {
    constructor(valColPairs) {
      super();
      this.valColPairs = valColPairs;
    }

    getColorFromValue(value) {
      const pairs = this.valColPairs;
      let color = pairs[0][1];
      for (let i = 0; i < pairs.length; i++) {
        if (value < pairs[i][0]) break;
        color = pairs[i][1];
      }
      return color;
    }

    process(value) {
      const color = this.getColorFromValue(value);
      if (Array.isArray(color)) return color.slice();
      return [((color >>> 16) & 0xff) / 255, ((color >>> 8) & 0xff) / 255, (color & 0xff) / 255];
    }

    static createDefaultColorMap() {
      return new ColorMapVisualizer([
        [-1.0, 0x000000],
        [-0.2, 0xff0000],
        [-0.1, 0x9a0000],
        [0.0, 0x660000],
        [0.1, 0xffff33],
        [0.2, 0xcccc33],
        [0.3, 0x666600],
        [0.4, 0x33ffff],
        [0.5, 0x33cccc],
        [0.6, 0x006666],
        [0.7, 0x33ff33],
        [0.8, 0x33cc33],
        [0.9, 0x006600],
      ]);
    }
  }

  // A channel that is whole but for the rounding of the arithmetic is not cut down by one.
  const cut = (channel) => Math.floor(channel + 1e-9) / 255;

  class ColorRampVisualizer extends Visualizer {
    constructor(ramps, minVal, maxVal) {
      super();
      const pairs = ramps.slice().sort((a, b) => a[0] - b[0]);
      const first = pairs[0][0];
      const last = pairs[pairs.length - 1][0];
      const from = minVal === undefined || minVal === null ? first : minVal;
      const to = maxVal === undefined || maxVal === null ? last : maxVal;
      const moved = from !== first || to !== last;
      const scale = last === first ? 0 : (to - from) / (last - first);
      this.values = pairs.map((pair) => (moved ? from + (pair[0] - first) * scale : pair[0]));
      if (moved) this.values[pairs.length - 1] = to;
      this.colors = pairs.map((pair) => (Array.isArray(pair[1]) ? pair[1].map((c) => c * 255) : int2rgb(pair[1])));
    }

    inverse() {
      const reversed = Object.create(ColorRampVisualizer.prototype);
      reversed.values = this.values.slice();
      reversed.colors = this.colors.slice().reverse();
      return reversed;
    }

    process(value) {
      const values = this.values;
      const colors = this.colors;
      const last = values.length - 1;
      let i = last;
      if (value <= values[0]) {
        i = 0;
      } else if (value < values[last]) {
        i = 1;
        while (value > values[i]) i++;
        const below = colors[i - 1];
        const above = colors[i];
        const ratio = (value - values[i - 1]) / (values[i] - values[i - 1]);
        return [
          cut(below[0] + (above[0] - below[0]) * ratio),
          cut(below[1] + (above[1] - below[1]) * ratio),
          cut(below[2] + (above[2] - below[2]) * ratio),
        ];
      }
      const color = colors[i];
      return [cut(color[0]), cut(color[1]), cut(color[2])];
    }

    // The named ramps give their colours in the order of the list over ascending values.
    static named(ramps, minVal, maxVal) {
      const values = ramps.map((pair) => pair[0]).sort((a, b) => a - b);
      return new ColorRampVisualizer(ramps.map((pair, i) => [values[i], pair[1]]), minVal, maxVal);
    }

    static createRedTemperature(minVal, maxVal) {
      return ColorRampVisualizer.named(redTemperature, minVal, maxVal);
    }

    static createWhiteGreen(minVal, maxVal) {
      return ColorRampVisualizer.named(greenWhite, minVal, maxVal);
    }

    static createBlueRed(minVal, maxVal) {
      return ColorRampVisualizer.named(blueRed, minVal, maxVal);
    }

    static createOceanColor(minVal, maxVal) {
      return ColorRampVisualizer.named(oceanColor, minVal, maxVal);
    }
  }

  class ColorGradientVisualizer extends Visualizer {
    constructor(valColPairs, minVal = 0.0, maxVal = 1.0) {
      super();
      this.minVal = minVal;
      this.maxVal = maxVal;
      this.valColPairs = valColPairs.map((pair) => [
        minVal * pair[0] + maxVal * (1 - pair[0]),
        Array.isArray(pair[1]) ? rgb2int(pair[1].map((c) => Math.round(c * 255))) : pair[1],
      ]);
    }

    getColor(value) {
      const pairs = this.valColPairs;
      const last = pairs.length - 1;
      if (value <= this.minVal) return pairs[0][1];
      if (value >= this.maxVal) return pairs[last][1];
      for (let i = 1; i <= last; i++) {
        if (value > pairs[i - 1][0] && value <= pairs[i][0]) {
          return combine(pairs[i][1], pairs[i - 1][1], (value - pairs[i - 1][0]) / (pairs[i][0] - pairs[i - 1][0]));
        }
      }
      return pairs[last][1];
    }

    process(value) {
      return normalizeRGB(int2rgb(this.getColor(value)));
    }

    static createRedTemperature(minVal, maxVal) {
      return new ColorGradientVisualizer(redTemperature, minVal, maxVal);
    }

    static createWhiteGreen(minVal, maxVal) {
      return new ColorGradientVisualizer(greenWhite, minVal, maxVal);
    }

    static createBlueRed(minVal, maxVal) {
      return new ColorGradientVisualizer(blueRed, minVal, maxVal);
    }

    static createOceanColor(minVal, maxVal) {
      return new ColorGradientVisualizer(oceanColor, minVal, maxVal);
    }
  }

  const clamp = (value) => Math.max(Math.min(value, 1), 0);

  class DefaultVisualizer extends Visualizer {
    constructor(minValue = 0.0, maxValue = 1.0, gain = 1.0, offset = 0.0, gamma = 1.0) {
      super();
      this.minValue = minValue ?? 0;
      this.maxValue = maxValue ?? 1;
      this.gain = gain ?? 1;
      this.offset = offset ?? 0;
      this.gamma = gamma ?? 1;
    }

    stretched(value) {
      const v = (this.gain * (value - this.minValue)) / (this.maxValue - this.minValue) + this.offset;
      return this.gamma === 1 ? v : Math.pow(Math.max(0, v), this.gamma);
    }

    process(value) {
      return clamp(this.stretched(value));
    }
  }

  class HighlightCompressVisualizer extends DefaultVisualizer {
    compressed(value) {
      const v = this.stretched(value);
      const compress = 0 < this.maxValue && this.maxValue < 1 && v > 0.92;
      return clamp(compress ? 0.92 + ((v - 0.92) * 0.08) / 1.08 : v);
    }

    process(value) {
      return this.compressed(value);
    }
  }

  class HighlightCompressVisualizerSingle extends HighlightCompressVisualizer {
    process(value) {
      return [this.compressed(value)];
    }
  }

  class Identity extends Visualizer {
    process(value) {
      return Array.isArray(value) ? value : [value];
    }
  }

  // Landsat 8/9 Collection 2, band QA_PIXEL.
  function decodeL8C2Qa(value) {
    return {
      fill: value & 1,
      dilatedCloud: (value >> 1) & 1,
      cirrus: (value >> 2) & 1,
      cloud: (value >> 3) & 1,
      cloudShadow: (value >> 4) & 1,
      snow: (value >> 5) & 1,
      clear: (value >> 6) & 1,
      water: (value >> 7) & 1,
      cloudConfidence: (value >> 8) & 3,
      cloudShadowConfidence: (value >> 10) & 3,
      snowIceConfidence: (value >> 12) & 3,
      cirrusConfidence: (value >> 14) & 3,
    };
  }

  // Sentinel-3 OLCI Level-1B, band QUALITY_FLAGS: from bit 31 down, the last 21 are the saturated bands.
  const OLCI_FLAGS = [
    "land",
    "coastline",
    "fresh_inland_water",
    "tidal_region",
    "bright",
    "straylight_risk",
    "invalid",
    "cosmetic",
    "duplicated",
    "sun_glint_risk",
    "dubious",
  ];
  for (let band = 1; band <= 21; band++) OLCI_FLAGS.push("saturatedB" + String(band).padStart(2, "0"));

  function decodeS3OLCIQualityFlags(value) {
    const flags = {};
    for (let i = 0; i < 32; i++) flags[OLCI_FLAGS[i]] = (value >>> (31 - i)) & 1;
    return flags;
  }

  const enumeration = (...names) => Object.fromEntries(names.map((name) => [name, name]));

  const members = {
    JAVA_DOUBLE_MAX_VAL,
    index,
    inverse,
    int2rgb,
    rgb2int,
    normalizeRGB,
    combine,
    valueMap,
    valueInterpolate,
    colorBlend: valueInterpolate,
    blueRed,
    redTemperature,
    greenWhite,
    oceanColor,
    ColorMapVisualizer,
    ColorRampVisualizer,
    ColorGradientVisualizer,
    DefaultVisualizer,
    HighlightCompressVisualizer,
    HighlightCompressVisualizerSingle,
    Identity,
    decodeL8C2Qa,
    decodeS3OLCIQualityFlags,
    SampleType: enumeration("AUTO", "UINT8", "UINT16", "INT8", "INT16", "FLOAT32"),
    Mosaicking: enumeration("SIMPLE", "ORBIT", "TILE"),
  };
  for (const [name, value] of Object.entries(members)) {
    Object.defineProperty(global, name, { value, writable: true, configurable: true, enumerable: false });
  }
})(globalThis);
