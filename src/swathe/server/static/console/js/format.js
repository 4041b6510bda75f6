// Numbers, times and sizes as people read them. Times are in UTC everywhere.

const WHOLE = new Intl.NumberFormat("en-GB", { maximumFractionDigits: 0 });

/** 700000 -> "700,000"; a dash for none. */
export function count(value) {
  return value === null || value === undefined ? "–" : WHOLE.format(value);
}

/** A measured value with four significant digits: short, and steady in columns. */
export function value(number, digits = 4) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return number.toExponential(digits - 1);
  return Number(number.toPrecision(digits)).toString().replace("-", "\u2212");
}

/** Processing units: more digits where there are few. */
export function units(number) {
  if (number === null || number === undefined) return "–";
  const digits = number >= 100 ? 0 : number >= 1 ? 2 : 4;
  return `${number.toLocaleString("en-GB", { maximumFractionDigits: digits })} PU`;
}

export function bytes(number) {
  if (number === null || number === undefined) return "–";
  const names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let step = 0;
  while (number >= 1024 && step < names.length - 1) [number, step] = [number / 1024, step + 1];
  return `${number.toFixed(step && number < 100 ? 1 : 0)} ${names[step]}`;
}

/** Seconds as "45 s", "12 min", "3 h 20 min", "2 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return "< 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} d ${Math.round((minutes % 1440) / 60)} h`;
}

export function percent(number) {
  if (number === null || number === undefined) return "–";
  return `${number === 100 || number === 0 ? number : number.toFixed(1)} %`;
}

/** "2020-06-01 10:00:05" of an ISO time, in UTC. */
export function time(iso) {
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "–" : at.toISOString().slice(0, 19).replace("T", " ");
}

/** The day, with hours where the time is not midnight. */
export function day(iso) {
  const text = time(iso);
  return text.endsWith("00:00:00") ? text.slice(0, 10) : text.slice(0, 16);
}

/** An interval: its end is not in it, so whole days show their last day. */
export function interval({ from, to }) {
  const [start, end] = [new Date(from), new Date(to)];
  const whole = [start, end].every((one) => one.getTime() % 86_400_000 === 0);
  if (!whole) return `${day(from)} to ${day(to)}`;
  const last = new Date(end.getTime() - 1).toISOString().slice(0, 10);
  const first = start.toISOString().slice(0, 10);
  return first === last ? first : `${first} to ${last}`;
}

/** "a minute ago" and so on, for what a tooltip has exactly. */
export function ago(iso, now = Date.now()) {
  const seconds = Math.max(0, (now - new Date(iso).getTime()) / 1000);
  return seconds < 5 ? "now" : `${duration(seconds)} ago`;
}

const STATUS = {
  CREATED: "Created",
  ANALYSING: "Analysing",
  ANALYSIS_DONE: "Analysed",
  PROCESSING: "Running",
  DONE: "Done",
  FAILED: "Failed",
  STOPPED: "Stopped",
};
const REASONS = { OUT_OF_PU: "budget used up", USER_ACTION: "by a user", UNHEALTHY: "too many failures" };

export function status(job) {
  const name = STATUS[job.status] ?? job.status;
  return job.status === "STOPPED" && job.stoppedStatusReason
    ? `${name}: ${REASONS[job.stoppedStatusReason] ?? job.stoppedStatusReason}`
    : name;
}

export const STATUSES = Object.entries(STATUS);
export const KINDS = { statistics: "Statistics", process: "Images", async: "Async image" };
