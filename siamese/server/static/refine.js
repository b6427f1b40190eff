// The filters: labels to require and to exclude, minimum similarity, one result per item.

import { countFilters } from "./address.js";
import { count, number } from "./words.js";

const MAX_LISTED = 50; // labels; typing finds the others
const SLIDER_DELAY = 300; // milliseconds after its last move

/**
 * @param {(change: object) => void} onChange called with the parts of the state that change
 */
export function makeRefine(onChange) {
  const byId = (id) => document.getElementById(id);
  const [byItem, others, slider] = ["by-item", "others", "least"].map(byId);
  const [list, labelSearch, note, match] = [
    "label-list",
    "label-search",
    "label-note",
    "match",
  ].map(byId);
  const template = byId("label");
  let labels = [];
  let state = null;
  let sliderTimer = null;
  let requiresEvery = false; // every required label, or any of them

  const required = () => [...state.any, ...state.every];
  const without = (list, label) => list.filter((other) => other !== label);
  const toggled = (list, label) =>
    list.includes(label) ? without(list, label) : [...list, label];

  const toggleRequired = (label) =>
    onChange({ ...split(toggled(required(), label)), none: without(state.none, label) });
  const toggleExcluded = (label) =>
    onChange({ ...split(without(required(), label)), none: toggled(state.none, label) });
  const split = (chosen) =>
    requiresEvery ? { any: [], every: chosen } : { any: chosen, every: [] };

  byItem.addEventListener("change", () => onChange({ byItem: byItem.checked }));
  others.addEventListener("change", () => onChange({ others: others.checked }));
  slider.addEventListener("input", () => showMinimum(Number(slider.value)));
  slider.addEventListener("change", () => {
    // Each press of an arrow key is a change; wait for the last one.
    clearTimeout(sliderTimer);
    sliderTimer = setTimeout(() => onChange({ minPercent: Number(slider.value) }), SLIDER_DELAY);
  });
  labelSearch.addEventListener("input", () => listLabels());
  byId("refine-form").addEventListener("submit", (event) => event.preventDefault());
  match.addEventListener("change", (event) => {
    requiresEvery = event.target.value === "every";
    onChange(split(required()));
  });

  const showMinimum = (value) => {
    byId("least-value").textContent = value ? `${value}%` : "any";
    slider.setAttribute("aria-valuetext", value ? `${value}% similar` : "any");
  };

  const makeRow = ({ label, pictures }) => {
    const row = template.content.firstElementChild.cloneNode(true);
    const [requireButton, excludeButton] = row.querySelectorAll("button");
    row.querySelector(".label-name").textContent = label;
    row.querySelector(".count").textContent = number(pictures);
    requireButton.title = `Only ${label}: ${count(pictures, "picture")}`;
    requireButton.setAttribute("aria-pressed", required().includes(label));
    requireButton.addEventListener("click", () => toggleRequired(label));
    excludeButton.setAttribute("aria-label", `Leave out ${label}`);
    excludeButton.title = `Leave out ${label}`;
    excludeButton.setAttribute("aria-pressed", state.none.includes(label));
    excludeButton.addEventListener("click", () => toggleExcluded(label));
    return row;
  };

  const listLabels = () => {
    const text = labelSearch.value.trim().toLowerCase();
    const matching = labels.filter(({ label }) => label.toLowerCase().includes(text));
    const inUse = new Set([...required(), ...state.none]);
    const first = matching.filter(({ label }) => inUse.has(label));
    const rest = matching.filter(({ label }) => !inUse.has(label));
    const listed = [...first, ...rest].slice(0, Math.max(MAX_LISTED, first.length));

    const focused = list.contains(document.activeElement) ? document.activeElement.title : null;
    list.replaceChildren(...listed.map(makeRow));
    const refocused = [...list.querySelectorAll("button")].find(({ title }) => title === focused);
    refocused?.focus({ preventScroll: true });

    const hidden = matching.length - listed.length;
    note.textContent =
      matching.length === 0
        ? "No label contains this text."
        : hidden > 0
          ? `${count(hidden, "more label")}; type to find them.`
          : "";
  };

  const makeChips = () => {
    const chips = [
      ...state.any.map((label) => ["only", label, () => toggleRequired(label)]),
      ...state.every.map((label) => ["only", label, () => toggleRequired(label)]),
      ...state.none.map((label) => ["without", label, () => toggleExcluded(label)]),
    ];
    if (state.minPercent) {
      chips.push(["at least", `${state.minPercent}%`, () => onChange({ minPercent: 0 })]);
    }
    return chips.map(([how, what, remove]) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.append(`${how} `, Object.assign(document.createElement("b"), { textContent: what }));
      button.setAttribute("aria-label", `${how} ${what}: remove this filter`);
      button.addEventListener("click", remove);
      item.append(button);
      return item;
    });
  };

  return {
    /** Set the labels to offer, as the server lists them. */
    setLabels(newLabels) {
      labels = newLabels;
      byId("labels").hidden = labels.length === 0;
    },
    /** Show the filters of a state. */
    show(newState) {
      state = newState;
      if (required().length > 0) requiresEvery = state.every.length > 0;
      byItem.checked = state.byItem;
      others.checked = state.others;
      byId("others-row").hidden = state.like === null || state.crop !== null;
      slider.value = state.minPercent;
      showMinimum(state.minPercent);
      match.hidden = required().length < 2;
      for (const radio of match.querySelectorAll("input")) {
        radio.checked = radio.value === (requiresEvery ? "every" : "any");
      }
      listLabels();

      const filterCount = countFilters(state);
      byId("refine-count").hidden = filterCount === 0;
      byId("refine-count").textContent = filterCount;
      byId("chips").replaceChildren(...makeChips());
    },
  };
}
