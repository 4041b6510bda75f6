// The inside half of the host: runs before the script, keeps what it needs in a closure that the script cannot reach,
// and is called from outside with JSON. Strict, so that `evaluatePixel.caller` and stack frames give nothing away.
(function (global) {
  "use strict";

  const { parse, stringify } = JSON;
  const { isArray } = Array;
  const { isView } = ArrayBuffer;
  const { ownKeys, construct } = Reflect;
  const { create, defineProperty, getPrototypeOf, hasOwn } = Object;
  const { min, floor, round } = Math;
  const compile = Function;
  const PromisePrototype = Promise.prototype;
  const Failure = TypeError;
  const number = Number;
  const string = String;
  const Buffer = ArrayBuffer;
  const RealDate = Date;
  const Blank = Object.prototype;
  const MARK = "\u0001";
  const INDEX = Symbol("index");
  // The loop is called for so many cells at a time: optimised code takes over when a function is entered, so a first
  // batch of a million cells is soon through the interpreter. A call costs nothing beside the cells.
  const SLICE = 512;

  // ---- what the sandbox takes away -------------------------------------------------------------------------------
  const realNow = RealDate.now;
  const now = () => floor(realNow() / 1000) * 1000;
  function CoarseDate(...parts) {
    if (new.target === undefined) return string(new RealDate(now()));
    return construct(RealDate, parts.length === 0 ? [now()] : parts, new.target);
  }
  defineProperty(CoarseDate, "name", { value: "Date" });
  defineProperty(CoarseDate, "length", { value: 7 });
  defineProperty(CoarseDate, "prototype", { value: RealDate.prototype, writable: false });
  for (const name of ["parse", "UTC"]) {
    defineProperty(CoarseDate, name, { value: RealDate[name], writable: true, configurable: true });
  }
  defineProperty(CoarseDate, "now", { value: now, writable: true, configurable: true });
  RealDate.prototype.constructor = CoarseDate;
  defineProperty(global, "Date", { value: CoarseDate, writable: true, configurable: true, enumerable: false });
  for (const name of ["Temporal", "SharedArrayBuffer", "Atomics", "WebAssembly", "performance"]) delete global[name];
  for (const name of ["setTimeout", "clearTimeout", "__timer_manager"]) {
    if (name in global && !delete global[name]) global[name] = undefined;
  }
  if (global.Intl) delete global.Intl.DateTimeFormat;

  // ---- what evaluatePixel returned --------------------------------------------------------------------------------
  const fail = (message) => {
    throw new Failure(MARK + message + MARK);
  };
  const quoted = (value) => (typeof value === "symbol" ? "a symbol" : `"${string(value)}"`);
  const kindOf = (value) => {
    if (value === null) return "null";
    if (typeof value === "object") {
      return getPrototypeOf(value) === PromisePrototype ? "a promise" : isArray(value) ? "a list" : "an object";
    }
    return typeof value === "string" ? "a string" : typeof value === "function" ? "a function" : `a ${typeof value}`;
  };

  const listOf = (value, id) => {
    if (value === undefined || value === null) return null;
    const type = typeof value;
    if (type === "number" || type === "boolean" || type === "bigint") return [number(value)];
    if (type === "string") {
      const parsed = number(value);
      if (parsed === parsed) return [parsed];
    }
    if (type === "object" && (isArray(value) || isView(value) || typeof value.length === "number")) return value;
    return fail(`evaluatePixel() returned ${kindOf(value)} for the output "${id}"; a list of numbers is expected`);
  };

  const write = (value, id, out, i, n, bands, convert) => {
    const list = listOf(value, id);
    let length = 0;
    if (list !== null) {
      length = +list.length;
      if (!(length >= 0)) fail(`evaluatePixel() returned a list without a usable length for the output "${id}"`);
    }
    for (let band = 0; band < bands; band++) {
      out[band * n + i] = band < length ? convert(+list[band]) : 0;
    }
  };

  // An object without any of the outputs: nothing at all means zeros, something else is a mistake.
  const empty = (value, ids) => {
    if (getPrototypeOf(value) === PromisePrototype) {
      fail("evaluatePixel() returned a promise; it must return its values directly");
    }
    const keys = ownKeys(value);
    for (let k = 0; k < ids.length; k++) if (ids[k] in value) return undefined;
    if (keys.length === 0) return undefined;
    let names = "";
    for (let k = 0; k < min(keys.length, 5); k++) names += (k ? ", " : "") + quoted(keys[k]);
    let outputs = "";
    for (let k = 0; k < ids.length; k++) outputs += (k ? ", " : "") + quoted(ids[k]);
    return fail(`evaluatePixel() returned an object with ${names} but without the outputs of setup(): ${outputs}`);
  };
  // What output k gets of what was returned: a list or a number as it is goes to the main output.
  const pick = (value, ids, k, main) => {
    const type = typeof value;
    if (type === "object" && value !== null && !isArray(value) && !isView(value)) {
      const list = hasOwn(value, ids[k]) || !(ids[k] in Blank) ? value[ids[k]] : undefined;
      return list === undefined ? empty(value, ids) : list;
    }
    if (type === "string" || type === "function" || type === "symbol") {
      fail(`evaluatePixel() returned ${kindOf(value)}; a list or an object of lists is expected`);
    }
    return main ? value : undefined;
  };

  const P = create(null);
  P.Array = Array;
  P.round = round;
  P.write = write;
  P.pick = pick;
  for (const name of ["Uint8", "Int8", "Uint16", "Int16", "Uint32", "Int32", "Float32", "Float64"]) {
    P[`${name}Array`] = global[`${name}Array`];
  }

  // ---- scenes -------------------------------------------------------------------------------------------------------
  const put = (object, key, value, enumerable) => {
    defineProperty(object, key, { __proto__: null, value, writable: true, configurable: true, enumerable });
  };

  const tileOf = (info, i) => {
    const tile = { date: info.date };
    if (info.cloudCoverage !== null) tile.cloudCoverage = info.cloudCoverage;
    tile.dataPath = info.dataPath;
    tile.shId = info.shId;
    if (info.dataGeometry) tile.dataGeometry = info.dataGeometry;
    if (info.dataEnvelope) tile.dataEnvelope = info.dataEnvelope;
    tile[INDEX] = i;
    undocumented(tile, info, i);
    return tile;
  };

  // What the hosted service has besides and published scripts look at; not shown, so that lists of tiles stay short.
  const undocumented = (object, info, i) => {
    if (info.shId !== undefined) put(object, "tileOriginalId", string(info.shId), false);
    put(object, "__idx", i, false);
  };

  const orbitOf = (info, i, withTiles) => {
    const orbit = { dateFrom: info.dateFrom, dateTo: info.dateTo };
    if (withTiles) {
      const tiles = [];
      for (let k = 0; k < info.tiles.length; k++) put(tiles, k, tileOf(info.tiles[k], k), true);
      orbit.tiles = tiles;
    }
    orbit[INDEX] = i;
    undocumented(orbit, info, i);
    return orbit;
  };

  const itemsOf = (source, withTiles) => {
    const items = [];
    if (source.mosaicking === "ORBIT") {
      for (let i = 0; i < source.orbits.length; i++) put(items, i, orbitOf(source.orbits[i], i, withTiles), true);
    } else if (source.mosaicking === "TILE") {
      for (let i = 0; i < source.tiles.length; i++) put(items, i, tileOf(source.tiles[i], i), true);
    }
    return items;
  };

  // The list of the old form (`scenes[i].date` is a Date) which also has `orbits` or `tiles`, the new form.
  const scenesOf = (source) => {
    const items = itemsOf(source, true);
    const scenes = [];
    for (let i = 0; i < items.length; i++) {
      const old = { ...items[i] };
      old.date = new RealDate(items[i].date || items[i].dateFrom);
      undocumented(old, items[i], i);
      put(scenes, i, old, true);
    }
    const name = source.mosaicking === "ORBIT" ? "orbits" : source.mosaicking === "TILE" ? "tiles" : null;
    if (name !== null) put(scenes, name, items, false);
    put(scenes, "toJSON", () => (name === null ? {} : { [name]: items }), false);
    return scenes;
  };

  const allScenes = (request) => {
    if (!request.fusion) return scenesOf(request.sources[0]);
    const scenes = {};
    for (let k = 0; k < request.sources.length; k++) {
      put(scenes, request.sources[k].id, { scenes: scenesOf(request.sources[k]) }, true);
    }
    return scenes;
  };

  const indexOf = (item, items, name) => {
    if (typeof item === "object" && item !== null) {
      const i = item[INDEX];
      if (typeof i === "number" && i >= 0 && i < items.length && floor(i) === i) return i;
      for (let k = 0; k < items.length; k++) {
        const given = items[k];
        if (given.dateFrom !== undefined ? item.dateFrom === given.dateFrom : item.shId === given.shId && item.date === given.date) {
          return k;
        }
      }
    }
    return fail(`${name}() returned a scene that it was not given`);
  };

  const kept = (list, items, name) => {
    if (!isArray(list)) fail(`${name}() returned ${kindOf(list)} where a list of scenes is expected`);
    const seen = create(null);
    let text = "";
    const length = min(list.length, 1e6);
    for (let k = 0; k < length; k++) {
      const i = indexOf(list[k], items, name);
      if (seen[i]) continue;
      seen[i] = true;
      text += (text === "" ? "" : ",") + i;
    }
    return `[${text}]`;
  };

  // ---- what is called from outside ----------------------------------------------------------------------------------
  let script = null;
  let arena = null;
  let env = null;
  const drivers = create(null);

  const plain = (key, value) => {
    if (typeof value === "number" && !(value - value === 0)) return string(value);
    if (typeof value === "bigint") return string(value);
    if (typeof value === "function") return "[function]";
    return value;
  };
  const serialised = (value, limit, what) => {
    const text = stringify(value, plain);
    if (text !== undefined && text.length > limit) {
      fail(`${what} is ${text.length} characters long as JSON; at most ${limit} are allowed`);
    }
    return text === undefined ? "null" : text;
  };

  // What belongs to one evaluation, and to no other.
  const beginning = (begin) => {
    const userData = {};
    return {
      scenes: allScenes(begin),
      inputMetadata: { serviceVersion: begin.serviceVersion, normalizationFactor: begin.normalizationFactor ?? undefined },
      customData: {},
      outputMetadata: { userData },
      fresh: userData,
    };
  };

  const driverOf = (request) => {
    if (request.text !== undefined) {
      const make = compile("P", "evaluatePixel", "arena", "offsets", "stride", request.text);
      drivers[request.driver] = make(P, script.evaluatePixel, arena, request.offsets, request.stride);
    }
    return drivers[request.driver];
  };

  const evaluate = (run, { scenes, inputMetadata, customData, outputMetadata }, first, last) => {
    for (let from = first; from < last; from += SLICE) {
      run(from, min(from + SLICE, last), scenes, inputMetadata, customData, outputMetadata);
    }
  };

  const ending = ({ scenes, inputMetadata, outputMetadata, fresh }, limit) => {
    if (typeof script.updateOutputMetadata === "function") {
      const updateOutputMetadata = script.updateOutputMetadata;
      updateOutputMetadata(scenes, inputMetadata, outputMetadata);
    }
    const userData = outputMetadata.userData;
    if (userData === undefined || userData === null) return "null";
    if (userData === fresh && ownKeys(userData).length === 0) return "null";
    return serialised(userData, limit, "outputMetadata.userData");
  };

  const operations = {
    __proto__: null,

    setup(request) {
      if (typeof script.setup !== "function") fail("The evalscript has no function setup()");
      if (typeof script.evaluatePixel !== "function") fail("The evalscript has no function evaluatePixel()");
      const setup = script.setup;
      return serialised(setup(), request.limit, "What setup() returned");
    },

    preProcess(request) {
      const from = new RealDate(request.from);
      const to = new RealDate(request.to);
      const items = [];
      const lists = create(null);
      const collections = { from, to };
      for (let k = 0; k < request.sources.length; k++) {
        const source = request.sources[k];
        put(items, k, itemsOf(source, false), true);
        const name = source.mosaicking === "ORBIT" ? "orbits" : "tiles";
        lists[k] = [];
        for (let i = 0; i < items[k].length; i++) put(lists[k], i, items[k][i], true);
        const scenes = source.mosaicking === "SIMPLE" ? {} : { [name]: lists[k] };
        if (request.fusion) put(collections, source.id, { from, to, scenes }, true);
        else collections.scenes = scenes;
      }
      let returned = collections;
      if (typeof script.preProcessScenes === "function") {
        const preProcessScenes = script.preProcessScenes;
        returned = preProcessScenes(collections);
        if (returned === undefined || returned === null) returned = collections;
      } else if (typeof script.filterScenes === "function" && !request.fusion && request.sources[0].mosaicking !== "SIMPLE") {
        const filterScenes = script.filterScenes;
        const filtered = filterScenes(scenesOf(request.sources[0]), { from, to });
        return `[${filtered === undefined || filtered === null ? "null" : kept(filtered, items[0], "filterScenes")}]`;
      }
      let text = "";
      for (let k = 0; k < request.sources.length; k++) {
        const source = request.sources[k];
        text += k ? "," : "";
        if (source.mosaicking === "SIMPLE") {
          text += "null";
          continue;
        }
        const name = source.mosaicking === "ORBIT" ? "orbits" : "tiles";
        const collection = request.fusion ? returned[source.id] : returned;
        const scenes = isArray(collection) ? collection : collection && (collection.scenes || collection);
        text += kept(isArray(scenes) ? scenes : scenes && scenes[name], items[k], "preProcessScenes");
      }
      return `[${text}]`;
    },

    updateOutput(request) {
      const output = {};
      for (let k = 0; k < request.outputs.length; k++) {
        put(output, request.outputs[k].id, { bands: request.outputs[k].bands }, true);
      }
      let collection = { scenes: null };
      if (request.fusion) collection = allScenes(request);
      else collection.scenes = allScenes(request);
      const updateOutput = script.updateOutput;
      const returned = updateOutput(output, collection);
      const updated = typeof returned === "object" && returned !== null ? returned : output;
      const bands = {};
      for (let k = 0; k < request.outputs.length; k++) {
        const id = request.outputs[k].id;
        const entry = updated[id];
        put(bands, id, entry === undefined || entry === null ? null : entry.bands, true);
      }
      return serialised(bands, request.limit, "What updateOutput() set");
    },

    // One step of an evaluation: it may begin it, run over some cells, and end it.
    step(request) {
      if (request.begin) env = beginning(request.begin);
      const run = driverOf(request);
      evaluate(run, env, 0, request.cells);
      if (!request.end) return "null";
      const ended = env;
      env = null;
      return ending(ended, request.limit);
    },

    // Whole evaluations, whose cells lie one after another.
    batches(request) {
      const run = driverOf(request);
      const { batches, limit } = request;
      let text = "";
      let from = 0;
      for (let k = 0; k < batches.length; k++) {
        const { begin, cells } = batches[k];
        const one = beginning(begin);
        evaluate(run, one, from, from + cells);
        from += cells;
        text += (k ? "," : "") + ending(one, limit);
      }
      return `[${text}]`;
    },
  };

  // `this` is the functions of the script, or the size of the arena, or a request as JSON. There are no arguments,
  // since those would go through `Array.prototype.push`, which the script may have changed.
  return function host() {
    if (typeof this === "object") {
      script = this;
      return "null";
    }
    if (typeof this === "number") {
      arena = null;
      arena = new Buffer(this);
      return arena;
    }
    const request = parse(this);
    return operations[request.operation](request);
  };
})(globalThis);
