// Filters: labels to keep and to leave out, how alike at least, one picture an item.

import { filters } from "./address.js";
import { count, number } from "./words.js";

const LISTED = 50; // labels at once; the rest is found by typing
const SETTLED = 300; // milliseconds after the slider's last move

/**
 * @param {(change: object) => void} change is told which parts of the state to change
 */
export function makeRefine(change) {
  const by = (id) => document.getElementById(id);
  const [byItem, others, least] = [by("by-item"), by("others"), by("least")];
  const [list, find, note, match] = ["label-list", "label-search", "label-note", "match"].map(by);
  const template = by("label");
  let labels = [];
  let state = null;
  let sliding = null;
  let every = false; // all of the labels that are kept, or any of them

  const kept = () => [...state.any, ...state.every];
  const without = (given, label) => given.filter((one) => one !== label);
  const toggled = (given, label) =>
    given.includes(label) ? without(given, label) : [...given, label];

  const toggleKept = (label) =>
    change({ ...split(toggled(kept(), label)), none: without(state.none, label) });
  const toggleLeftOut = (label) =>
    change({ ...split(without(kept(), label)), none: toggled(state.none, label) });
  const split = (wanted) => ({ any: every ? [] : wanted, every: every ? wanted : [] });

  byItem.addEventListener("change", () => change({ byItem: byItem.checked }));
  others.addEventListener("change", () => change({ others: others.checked }));
  least.addEventListener("input", () => showLeast(Number(least.value)));
  least.addEventListener("change", () => {
    // Every press of an arrow key is a change: what counts is where it stays.
    clearTimeout(sliding);
    sliding = setTimeout(() => change({ least: Number(least.value) }), SETTLED);
  });
  find.addEventListener("input", () => listLabels());
  by("refine-form").addEventListener("submit", (event) => event.preventDefault());
  match.addEventListener("change", (event) => {
    every = event.target.value === "every";
    change(split(kept()));
  });

  const showLeast = (value) => {
    by("least-value").textContent = value ? `${value} %` : "any";
    least.setAttribute("aria-valuetext", value ? `${value} % alike` : "any");
  };

  const rowOf = ({ label, pictures }) => {
    const row = template.content.firstElementChild.cloneNode(true);
    const [keepButton, leaveButton] = row.querySelectorAll("button");
    row.querySelector(".label-name").textContent = label;
    row.querySelector(".count").textContent = number(pictures);
    keepButton.title = `Only ${label}: ${count(pictures, "picture")}`;
    keepButton.setAttribute("aria-pressed", kept().includes(label));
    keepButton.addEventListener("click", () => toggleKept(label));
    leaveButton.setAttribute("aria-label", `Leave out ${label}`);
    leaveButton.title = `Leave out ${label}`;
    leaveButton.setAttribute("aria-pressed", state.none.includes(label));
    leaveButton.addEventListener("click", () => toggleLeftOut(label));
    return row;
  };

  const listLabels = () => {
    const wanted = find.value.trim().toLowerCase();
    const matching = labels.filter(({ label }) => label.toLowerCase().includes(wanted));
    const inUse = new Set([...kept(), ...state.none]);
    const first = matching.filter(({ label }) => inUse.has(label));
    const rest = matching.filter(({ label }) => !inUse.has(label));
    const listed = [...first, ...rest].slice(0, Math.max(LISTED, first.length));

    const focused = list.contains(document.activeElement) ? document.activeElement.title : null;
    list.replaceChildren(...listed.map(rowOf));
    const again = [...list.querySelectorAll("button")].find(({ title }) => title === focused);
    again?.focus({ preventScroll: true });

    const hidden = matching.length - listed.length;
    note.textContent =
      matching.length === 0
        ? "No label reads like this."
        : hidden > 0
          ? `${count(hidden, "more label")}: type to find them.`
          : "";
  };

  const chipsOf = () => {
    const chips = [
      ...state.any.map((label) => ["only", label, () => toggleKept(label)]),
      ...state.every.map((label) => ["only", label, () => toggleKept(label)]),
      ...state.none.map((label) => ["without", label, () => toggleLeftOut(label)]),
    ];
    if (state.least) chips.push(["at least", `${state.least} %`, () => change({ least: 0 })]);
    return chips.map(([how, what, remove]) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "chip";
      button.append(`${how} `, Object.assign(document.createElement("b"), { textContent: what }));
      button.setAttribute("aria-label", `${how} ${what}: take this filter away`);
      button.addEventListener("click", remove);
      item.append(button);
      return item;
    });
  };

  return {
    /** Offer these labels, as the server lists them. */
    offer(given) {
      labels = given;
      by("labels").hidden = given.length === 0;
    },
    show(next) {
      state = next;
      if (kept().length > 0) every = state.every.length > 0;
      byItem.checked = state.byItem;
      others.checked = state.others;
      by("others-row").hidden = state.like === null || state.crop !== null;
      least.value = state.least;
      showLeast(state.least);
      match.hidden = kept().length < 2;
      for (const radio of match.querySelectorAll("input")) {
        radio.checked = radio.value === (every ? "every" : "any");
      }
      listLabels();

      const many = filters(state);
      by("refine-count").hidden = many === 0;
      by("refine-count").textContent = many;
      by("chips").replaceChildren(...chipsOf());
    },
  };
}
