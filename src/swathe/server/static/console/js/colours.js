// Colours of states and values. All of them are told apart by people who do not see all colours.

import { isDark } from "./theme.js";

/** Viridis, nine even steps: light is much, dark is little. */
export const RAMP = [
  "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
];

export const STATES = [
  { code: 0, name: "waiting", text: "Waiting", color: ["#9aa5ad", "#5c6a74"] },
  { code: 1, name: "done", text: "Done", color: ["#0b7d83", "#2fa8ad"] },
  { code: 3, name: "partly failed", text: "Partly failed", color: ["#d98a00", "#eab04a"] },
  { code: 2, name: "failed", text: "Failed", color: ["#c8341c", "#ff6b4f"] },
];

export function stateColor(code) {
  const state = STATES.find((one) => one.code === code) ?? STATES[0];
  return state.color[isDark() ? 1 : 0];
}

export function noValueColor() {
  return isDark() ? "#4a545c" : "#c3cad0";
}

/** Red, green and blue (0 to 255) of a share of the ramp (0 to 1). */
export function rampRgb(share) {
  const at = Math.min(1, Math.max(0, share)) * (RAMP.length - 1);
  const step = Math.min(RAMP.length - 2, Math.floor(at));
  const [low, high] = [parse(RAMP[step]), parse(RAMP[step + 1])];
  return low.map((part, index) => Math.round(part + (high[index] - part) * (at - step)));
}

function parse(hex) {
  return [1, 3, 5].map((place) => Number.parseInt(hex.slice(place, place + 2), 16));
}

/** An expression of the map that gives a feature's colour by its state. */
export function byState() {
  const cases = STATES.filter((one) => one.code !== 0).flatMap((one) => [one.code, stateColor(one.code)]);
  return ["match", ["get", "s"], ...cases, stateColor(0)];
}

/** The same by its value between two limits; grey without one. */
export function byValue(least, most) {
  const span = most > least ? most - least : Math.max(Math.abs(least), 1) * 1e-6;
  const stops = RAMP.flatMap((color, step) => [least + (span * step) / (RAMP.length - 1), color]);
  return ["case", ["has", "v"], ["interpolate", ["linear"], ["get", "v"], ...stops], noValueColor()];
}

/** A style for a bar that shows the ramp. */
export function rampGradient() {
  return `linear-gradient(to right, ${RAMP.join(", ")})`;
}
