// JavaScript cut into coloured pieces, line by line: what a line begins in is all that it needs of those before it.

const KEYWORDS = new Set((
  "async await break case catch class const continue debugger default delete do else export extends finally for function get if "
  + "import in instanceof let new of return set static super switch this throw try typeof var void while with yield"
).split(" "));
const CONSTANTS = new Set(["true", "false", "null", "undefined", "NaN", "Infinity"]);
/** Words that are names too; keywords where something follows that they can belong to. */
const SOFT = new Set(["async", "get", "of", "set", "static"]);
/** After these a slash divides; after other keywords it begins a regular expression. */
const VALUES = new Set(["super", "this"]);

const PIECES = new RegExp([
  String.raw`(?<space>\s+)`,
  String.raw`(?<comment>//.*)`,
  String.raw`(?<open>/\*)`,
  String.raw`(?<quote>["'])`,
  "(?<back>`)",
  String.raw`(?<number>0[xXbBoO][\da-fA-F_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?n?)`,
  String.raw`(?<word>[\p{ID_Start}$_#@][\p{ID_Continue}$\u200c\u200d]*)`,
  String.raw`(?<step>\+\+|--)`,
  String.raw`(?<sign>.)`,
].join("|"), "suy");
const REGEX = /\/(?![*/])(?:[^\\/[]|\\.|\[(?:[^\]\\]|\\.)*\])+\/\w*/suy;
const ENDS = { comment: /.*?\*\//sy, '"': /(?:[^"\\]|\\.)*"/sy, "'": /(?:[^'\\]|\\.)*'/sy, "`": /(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)/sy };

/**
 * What a line begins in. `inside` is "comment", a quote, or "" for code; `depths` are the braces that are open in each `${`
 * of the templates around it; `isValue` says whether a slash divides.
 */
export const START = Object.freeze({ inside: "", depths: [], isValue: false });

/** The pieces [kind, text] of a line, whose texts make up the line, and what the next one begins in. */
export function cut(line, state) {
  const pieces = [];
  let { inside, depths, isValue } = state;
  let at = 0;
  const take = (kind, end) => {
    const last = pieces.at(-1);
    if (last?.[0] === kind) last[1] += line.slice(at, end);
    else if (end > at) pieces.push([kind, line.slice(at, end)]);
    at = end;
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(line);
  };
  while (at < line.length) {
    if (inside) {
      const ended = match(ENDS[inside]);
      take(inside === "comment" ? "comment" : "string", ended ? at + ended[0].length : line.length);
      if (!ended) break;
      const isHole = inside === "`" && ended[0].endsWith("${");
      if (isHole) depths = [...depths, 0];
      if (inside !== "comment") isValue = !isHole;
      inside = "";
      continue;
    }
    const regex = !isValue && line[at] === "/" ? match(REGEX) : null;
    if (regex) {
      take("string", at + regex[0].length);
      isValue = true;
      continue;
    }
    const found = match(PIECES);
    const [text] = found;
    const { space, comment, open, quote, back, number, word, step } = found.groups;
    const end = at + text.length;
    if (space) take("", end);
    else if (comment) take("comment", end);
    else if (open || quote || back) {
      inside = open ? "comment" : text;
      take(open ? "comment" : "string", end);
    } else if (number) {
      take("number", end);
      isValue = true;
    } else if (word) {
      const kind = kindOf(word, line, at, end);
      take(kind, end);
      isValue = kind !== "keyword" || VALUES.has(word);
    } else if (step) take("", end);
    else {
      const depth = depths.at(-1);
      if (text === "}" && depth === 0) {
        take("string", end);
        depths = depths.slice(0, -1);
        inside = "`";
        continue;
      }
      if (depth !== undefined && (text === "{" || text === "}")) depths = [...depths.slice(0, -1), depth + (text === "{" ? 1 : -1)];
      take("", end);
      isValue = text === ")" || text === "]" || text === "}";
    }
  }
  // A quoted string ends with its line, but for a line that ends in a backslash.
  if ((inside === '"' || inside === "'") && !/(?:^|[^\\])(?:\\\\)*\\$/.test(line)) inside = "";
  return { pieces, next: { inside, depths, isValue } };
}

function kindOf(word, line, from, end) {
  const [before, behind] = [line.slice(Math.max(0, from - 20), from), line.slice(end, end + 20)];
  const isMember = /(?:^|[^.])\.\s*$/.test(before);
  const isKey = /^\s*:/.test(behind) && word !== "default";
  if (!isMember && CONSTANTS.has(word)) return "number";
  if (!isMember && !isKey && KEYWORDS.has(word) && (!SOFT.has(word) || /^\s+[\p{ID_Start}$_[("'#*]/u.test(behind))) return "keyword";
  return /^\s*\(/.test(behind) ? "name" : "";
}
