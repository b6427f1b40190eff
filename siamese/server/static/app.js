// The page: from an address to what is shown, and from what is done to an address.

import { addressOf, asks, filters, MOST, NOTHING, PAGE, readAddress } from "./address.js";
import { ask, askJson, key, pathOf, Refusal, showPicture, Silence } from "./api.js";
import { makeCrop } from "./crop.js";
import { watchIntake } from "./intake.js";
import { makeRefine } from "./refine.js";
import { fillTile, makeResults } from "./results.js";
import { forgetOld, keep, recall } from "./store.js";
import * as words from "./words.js";

const by = (id) => document.getElementById(id);
const title = document.title;
const STARTS = 8;
const REMEMBERED = 40; // answers

let about = null;
let state = NOTHING;
let running = new AbortController(); // aborts the search that goes on
let scrollTimer = null;
let offered = null; // the object URL of the user's picture that is shown
let pictured = Promise.resolve(); // once that picture has its size

const answers = new Map(); // by address: {results, exhausted, in_catalogue, threshold}
let version = null; // of the index that they are from

const results = makeResults(by("grid"), (result) =>
  addressOf({ ...state, like: result.filename, picture: null, crop: null, count: PAGE }),
);
const refine = makeRefine((change) => go({ ...state, ...change, count: PAGE }));
const crop = makeCrop(
  by("stage"),
  by("frame"),
  (part) => go({ ...state, crop: part, count: PAGE }),
  say,
);

/** Tell a screen reader. */
function say(text) {
  by("live").textContent = text;
}

// --- history ------------------------------------------------------------------------------------

/** Go on to another state, by a new address. */
function go(next, { focus = false, replace = false, item = null } = {}) {
  const address = addressOf(next);
  rememberScroll();
  if (replace || address === addressOf(state))
    history.replaceState({ ...history.state }, "", address);
  else history.pushState({ item }, "", address);
  return show(next, { focus });
}

function rememberScroll() {
  clearTimeout(scrollTimer);
  history.replaceState({ ...history.state, scroll: scrollY }, "");
}

/** Scroll to where one was, once nothing moves any more. */
async function scrollBack(top) {
  await Promise.race([pictured, new Promise((resolve) => setTimeout(resolve, 500))]);
  scrollTo({ top, behavior: "instant" });
}

history.scrollRestoration = "manual";
addEventListener("scroll", () => {
  clearTimeout(scrollTimer);
  scrollTimer = setTimeout(rememberScroll, 150);
});
addEventListener("popstate", async () => {
  clearTimeout(scrollTimer);
  const next = readAddress();
  if (about === null || addressOf(next) === addressOf(state)) return; // a fragment alone
  hint(null);
  const scroll = history.state?.scroll ?? 0;
  await show(next, { focus: true });
  await scrollBack(scroll);
});

// --- what is shown ------------------------------------------------------------------------------

/** Show one of the page's three faces. */
function face(name) {
  for (const id of ["welcome", "search", "alone"]) by(id).hidden = id !== name;
}

/** Show a message with nothing beside it. */
function showAlone({ title: heading, text, action }, act) {
  face("alone");
  document.title = heading;
  by("alone-title").textContent = heading;
  by("alone-text").replaceChildren(...paragraphs(text), ...buttons(action, act));
  by("alone-title").focus({ preventScroll: true });
}

/** Show a message above the results, or none. */
function notice(message, act) {
  by("notice").hidden = message === null;
  if (message === null) return;
  const heading = Object.assign(document.createElement("h2"), { textContent: message.title });
  by("notice").replaceChildren(
    heading,
    ...paragraphs(message.text),
    ...buttons(message.action, act),
  );
  say(`${message.title}. ${message.text[0]}`);
}

/** Show a message about what came in, for as long as nothing else is done. */
function hint(message) {
  by("hint").hidden = message === null;
  if (message === null) return;
  const heading = Object.assign(document.createElement("b"), { textContent: message.title });
  by("hint-text").replaceChildren(heading, ` ${message.text.join(" ")}`);
}

const paragraphs = (texts) =>
  texts.map((text) => {
    // A line to type stands as such.
    const line = document.createElement(text.startsWith("siamese ") ? "pre" : "p");
    line.textContent = text;
    return line;
  });

function buttons(action, act) {
  if (!action) return [];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = action;
  button.addEventListener("click", act);
  return [button];
}

/** Show a state: what is asked, then what is found. */
async function show(next, { focus = false } = {}) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const before = state;
  state = next;

  if (about.pictures === 0) return showAlone(words.empty);
  if (!asks(state)) {
    face("welcome");
    document.title = title;
    if (focus) by("main").focus({ preventScroll: true });
    if (asks(before)) scrollTo({ top: 0, behavior: "instant" });
    return showStarts();
  }

  face("search");
  refine.show(state);
  crop.set(state.crop);
  by("whole").hidden = state.crop === null;
  notice(null);
  const sameQuery = before.like === state.like && before.picture === state.picture && asks(before);
  if (!sameQuery) scrollTo({ top: 0, behavior: "instant" });
  if (focus) by("found-title").focus({ preventScroll: true });

  const asked = await askedPicture();
  if (signal.aborted) return;
  if (!sameQuery) showAsked(asked);
  if (asked === null) {
    results.clear();
    summarise("");
    by("more-row").hidden = true;
    notice(words.forgotten);
    return;
  }

  const known = remembered();
  if (known.results.length >= state.count || known.exhausted) return showFound(known);
  if (sameQuery) results.dim();
  else {
    results.wait();
    summarise("Looking …");
    by("more-row").hidden = true;
  }
  try {
    const found = await find(asked, known, signal);
    if (!signal.aborted) showFound(found);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    showFailure(error, asked);
  }
}

function summarise(text) {
  by("found-summary").textContent = text;
}

function showFound(found) {
  const shown = found.results.slice(0, state.count);
  const all = found.exhausted && found.results.length <= state.count;
  results.show(shown, found.threshold);
  by("more-row").hidden = all || state.count >= MOST;
  by("scale-text").replaceChildren(...paragraphs(words.scale(found.threshold)));
  by("scale").hidden = shown.length === 0;
  if (shown.length === 0) {
    summarise("");
    if (filters(state) || state.others) notice(words.nothingLeft, clearFilters);
    else notice(words.nothingElse);
    return;
  }
  const summary = words.summary(shown.length, state, about, all);
  summarise(summary);
  say(summary);
  if (found.in_catalogue === false) {
    notice(words.notInCatalogue(shown[0].similarity, found.threshold, state.crop === null));
  } else notice(null);
}

const clearFilters = () =>
  go({ ...state, any: [], every: [], none: [], least: 0, others: false, count: PAGE });

function showFailure(error, asked) {
  results.clear();
  summarise("");
  by("scale").hidden = true;
  by("more-row").hidden = true;
  const again = () => show(state);
  if (error instanceof Silence) {
    notice(words.silent, again);
    addEventListener("online", again, { once: true, signal: running.signal });
  } else if (error instanceof Refusal && isAboutKey(error)) {
    key.forget();
    askForKey(true).then(again);
  } else if (error instanceof Refusal) {
    const known = { name: asked.name, formats: about.formats, most: about.max_upload_bytes };
    notice(words.refused(error, known), again);
  } else throw error;
}

// --- what is asked ------------------------------------------------------------------------------

/** The picture that is searched for: {name, blob} of the user's, {name} of the index, or null. */
async function askedPicture() {
  return state.like === null ? recall(state.picture) : { name: state.like };
}

function showAsked(asked) {
  const [image, stage] = [by("asked-picture"), by("stage")];
  if (offered) URL.revokeObjectURL(offered);
  offered = null;
  image.removeAttribute("src");
  stage.classList.remove("loaded");
  by("asked-title").textContent = state.like === null ? "Your picture" : "More like this";
  const name = history.state?.item ?? asked?.name.split("/").slice(-2).join("/") ?? "";
  by("asked-name").textContent = name;
  by("asked-name").title = asked?.name ?? "";
  document.title = name ? `Looks like ${name}` : title;
  image.alt = name && `The picture that is searched for: ${name}`;

  stage.hidden = asked === null || (state.like !== null && !about.images);
  const fixed = (isFixed) => {
    stage.classList.toggle("fixed", isFixed);
    by("frame").hidden = isFixed;
    by("crop-hint").hidden = isFixed || stage.hidden;
    by("frame-help").hidden = isFixed || stage.hidden;
  };
  fixed(stage.hidden);
  if (stage.hidden) return;
  pictured = new Promise((resolve) => {
    image.onload = () => {
      stage.classList.add("loaded");
      resolve();
    };
    image.onerror = () => {
      // A format that the server reads and this browser does not, or no picture at all.
      fixed(true);
      stage.hidden = true;
      resolve();
    };
  });
  if (asked.blob) {
    offered = URL.createObjectURL(asked.blob);
    image.src = offered;
  } else showPicture(image, pathOf("images", asked.name));
}

// --- what is found ------------------------------------------------------------------------------

const question = () => addressOf({ ...state, count: PAGE });

function remembered() {
  return answers.get(question()) ?? { results: [], exhausted: false };
}

/** Ask for as many results as are still wanted; returns all, and remembers them. */
async function find(asked, known, signal) {
  const [address, offset] = [question(), known.results.length];
  const k = state.count - offset;
  const form = await formOf(asked, offset, k, signal);
  const path = form.has("image") ? "search" : pathOf("search/similar-to", asked.name);
  const onBusy = (seconds) => notice(words.busy(seconds));
  const answer = await askJson(path, { method: "POST", body: form, signal, onBusy });
  if (version !== null && answer.index !== version) {
    await startAnew(answer.index);
    // What was known is of another index: a page of each would be a mixture.
    if (offset > 0) return find(asked, { results: [] }, signal);
  }
  version = answer.index;
  const found = {
    ...answer,
    results: [...known.results, ...answer.results],
    exhausted: answer.results.length < k,
  };
  answers.set(address, found);
  if (answers.size > REMEMBERED) answers.delete(answers.keys().next().value);
  return found;
}

async function formOf(asked, offset, k, signal) {
  const form = new FormData();
  if (asked.blob) form.append("image", asked.blob, asked.name);
  else if (state.crop) {
    // A part of a picture of the index is a picture like any other.
    const whole = await (await ask(pathOf("images", asked.name), { signal })).blob();
    form.append("image", whole, asked.name.split("/").at(-1));
  } else form.append("exclude_own_item", state.others);
  if (state.crop) form.append("crop", state.crop.join(","));
  form.append("k", k);
  form.append("offset", offset);
  for (const [field, labels] of [
    ["any_label", state.any],
    ["every_label", state.every],
    ["no_label", state.none],
  ]) {
    for (const label of labels) form.append(field, label);
  }
  if (state.byItem) form.append("by_item", "best");
  if (state.least) form.append("max_distance", words.distanceAt(state.least).toFixed(6));
  return form;
}

/** There is another index now: forget what the one before said. */
async function startAnew(index) {
  version = index;
  answers.clear();
  await learn();
}

// --- what is done -------------------------------------------------------------------------------

async function take(files) {
  const [file] = files;
  if (!file || about === null || about.pictures === 0) return;
  if (file.type && !file.type.startsWith("image/")) return hint(words.noPicture(file.name));
  if (file.size > about.max_upload_bytes) return hint(words.tooLarge(file, about.max_upload_bytes));
  hint(files.length > 1 ? words.onlyTheFirst(files) : null);
  const picture = await keep(file);
  return go(
    { ...state, like: null, picture, crop: null, others: false, count: PAGE },
    { focus: true },
  );
}

by("grid").addEventListener("click", (event) => follow(event, (link) => results.resultOf(link)));

/** Follow a link to a search without leaving the page, unless it is to open elsewhere. */
function follow(event, resultOf) {
  const link = event.target.closest("a");
  if (
    !link ||
    event.button !== 0 ||
    event.ctrlKey ||
    event.metaKey ||
    event.shiftKey ||
    event.altKey
  )
    return;
  event.preventDefault();
  hint(null);
  go(readAddress(new URL(link.href).search), { focus: true, item: resultOf(link)?.item_id });
}

by("whole").addEventListener("click", () => {
  go({ ...state, crop: null, count: PAGE });
  by("frame").focus({ preventScroll: true });
});
by("more").addEventListener("click", async () => {
  const shown = by("grid").querySelectorAll("a").length;
  await go({ ...state, count: Math.min(MOST, state.count + PAGE) }, { replace: true });
  results.linkAt(shown + 1)?.focus();
});
by("hint-close").addEventListener("click", () => hint(null));
document.querySelector(".mark").addEventListener("click", (event) => follow(event, () => null));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  by("main").focus();
});

// --- the first look -----------------------------------------------------------------------------

/** Offer some pictures of the index to start from. */
async function showStarts() {
  const list = by("starts-list");
  if (!about.images || list.children.length > 0) return;
  // Far from any one picture there are pictures of all kinds.
  const far = Math.min(2000, Math.max(0, about.pictures - 4 * STARTS));
  const offset = Math.floor(far * (1 - Math.random() / 2));
  const body = new URLSearchParams({ k: 4 * STARTS, offset });
  let found;
  try {
    ({ results: found } = await askJson("search/similar-to/0", { method: "POST", body }));
  } catch {
    return; // It is but an offer.
  }
  const ofKinds = new Map(found.map((result) => [result.labels[0] ?? result.item_id, result]));
  const some = [...ofKinds.values()].slice(0, STARTS);
  list.replaceChildren(
    ...some.map((result) => {
      const item = document.createElement("li");
      const link = document.createElement("a");
      link.href = addressOf({ ...NOTHING, like: result.filename });
      link.title = result.item_id;
      link.dataset.item = result.item_id;
      const tile = Object.assign(document.createElement("span"), { className: "tile" });
      tile.append(Object.assign(document.createElement("img"), { width: 128, height: 128 }));
      link.append(tile);
      item.append(link);
      fillTile(tile, result);
      return item;
    }),
  );
  by("starts").hidden = some.length === 0;
}
by("starts-list").addEventListener("click", (event) =>
  follow(event, (link) => ({ item_id: link.dataset.item })),
);

// --- the key ------------------------------------------------------------------------------------

const isAboutKey = (error) => error.status === 401 || error.status === 403;

/** Ask for the key until there is one. */
function askForKey(wasWrong) {
  const dialog = by("key");
  by("key-text").textContent = wasWrong
    ? "This key was not accepted. Is it whole?"
    : "Whoever runs it can give you one. It is kept until you close this tab.";
  by("key-input").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = by("key-input").value.trim();
        if (given) {
          key.set(given);
          resolve();
        } else showAlone(words.keyNeeded, () => askForKey(wasWrong).then(resolve));
      },
      { once: true },
    );
  });
}

// --- start --------------------------------------------------------------------------------------

/** Learn from the server what it offers. */
async function learn() {
  about = await askJson("about");
  if (about.api_key && !key.get()) await askForKey(false);
  for (;;) {
    try {
      refine.offer((await askJson("labels")).labels);
      break;
    } catch (error) {
      if (!(error instanceof Refusal && isAboutKey(error))) throw error;
      key.forget();
      await askForKey(true);
    }
  }
  by("facts").textContent = `${words.count(about.pictures, "picture")} · ${about.model.name}`;
  by("limits").textContent = words.limits(about);
  by("no-pictures").hidden = about.images;
  // Told which formats are taken, phones make one of them of what their cameras write.
  const accepted = about.formats.map((format) => `image/${format.toLowerCase()}`).join();
  for (const input of document.querySelectorAll("[data-intake]")) input.accept = accepted;
}

async function start() {
  try {
    await learn();
  } catch (error) {
    if (!(error instanceof Silence || error instanceof Refusal)) throw error;
    const message =
      error instanceof Silence
        ? words.silent
        : words.refused(error, { name: "", formats: [], most: 0 });
    return showAlone(message, start);
  }
  const scroll = history.state?.scroll ?? 0;
  await show(readAddress());
  await scrollBack(scroll);
}

by("refine").open = matchMedia("(min-width: 56rem)").matches;
watchIntake(take, by("veil"));
forgetOld();
start();
