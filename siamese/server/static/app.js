// The page: shows the state in its URL, and turns what the user does into a new URL.

import {
  countFilters,
  EMPTY_STATE,
  formatAddress,
  hasQuery,
  MAX_RESULTS,
  PAGE_SIZE,
  parseAddress,
} from "./address.js";
import { ApiError, apiKey, pathOf, request, requestJson, UnreachableError } from "./api.js";
import { makeCrop } from "./crop.js";
import { watchIntake } from "./intake.js";
import { askForKey, isKeyError } from "./key.js";
import {
  announce,
  makeParagraphs,
  showAlone,
  showHint,
  showNotice,
  showSection,
} from "./messages.js";
import { findQuery, showQuery } from "./query.js";
import { makeRefine } from "./refine.js";
import { makeResults } from "./results.js";
import { deleteOldPictures, storePicture } from "./store.js";
import { showStarts } from "./welcome.js";
import * as words from "./words.js";

const byId = (id) => document.getElementById(id);
const title = document.title;
const CACHED_ANSWERS = 40;

let about = null;
let state = EMPTY_STATE;
let running = new AbortController(); // aborts the current search
let scrollTimer = null;
let pictureLoaded = Promise.resolve();

const answers = new Map(); // by URL: {results, exhausted, in_catalogue, threshold}
let version = null; // of the index that they come from

const results = makeResults(byId("grid"), (result) =>
  formatAddress({ ...state, like: result.filename, picture: null, crop: null, count: PAGE_SIZE }),
);
const refine = makeRefine((change) => navigate({ ...state, ...change, count: PAGE_SIZE }));
const crop = makeCrop(
  byId("stage"),
  byId("frame"),
  (part) => navigate({ ...state, crop: part, count: PAGE_SIZE }),
  announce,
);

// --- history ------------------------------------------------------------------------------------

/** Show another state under its URL. */
function navigate(next, { focus = false, replace = false, item = null } = {}) {
  const address = formatAddress(next);
  saveScroll();
  if (replace || address === formatAddress(state))
    history.replaceState({ ...history.state }, "", address);
  else history.pushState({ item }, "", address);
  return show(next, { focus });
}

function saveScroll() {
  clearTimeout(scrollTimer);
  history.replaceState({ ...history.state, scroll: scrollY }, "");
}

/** Scroll to a position once the picture has loaded and the layout is stable. */
async function restoreScroll(top) {
  await Promise.race([pictureLoaded, new Promise((resolve) => setTimeout(resolve, 500))]);
  scrollTo({ top, behavior: "instant" });
}

history.scrollRestoration = "manual";
addEventListener("scroll", () => {
  clearTimeout(scrollTimer);
  scrollTimer = setTimeout(saveScroll, 150);
});
addEventListener("popstate", async () => {
  clearTimeout(scrollTimer);
  const next = parseAddress();
  // Ignore a change of the fragment only.
  if (about === null || formatAddress(next) === formatAddress(state)) return;
  showHint(null);
  const scroll = history.state?.scroll ?? 0;
  await show(next, { focus: true });
  await restoreScroll(scroll);
});

// --- showing a state ----------------------------------------------------------------------------

/** Show a state: the query picture, then its results. */
async function show(next, { focus = false } = {}) {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const previous = state;
  state = next;

  if (about.pictures === 0) return showAlone(words.emptyIndex);
  if (!hasQuery(state)) {
    showSection("welcome");
    document.title = title;
    if (focus) byId("main").focus({ preventScroll: true });
    if (hasQuery(previous)) scrollTo({ top: 0, behavior: "instant" });
    return showStarts(about);
  }

  showSection("search");
  refine.show(state);
  crop.set(state.crop);
  byId("whole").hidden = state.crop === null;
  showNotice(null);
  const sameQuery =
    previous.like === state.like && previous.picture === state.picture && hasQuery(previous);
  if (!sameQuery) scrollTo({ top: 0, behavior: "instant" });
  if (focus) byId("found-title").focus({ preventScroll: true });

  const query = await findQuery(state);
  if (signal.aborted) return;
  if (!sameQuery) {
    const { like } = state;
    const shown = showQuery(query, { isIndexed: like !== null, hasImages: about.images });
    pictureLoaded = shown.loaded;
    document.title = shown.name ? `Looks like ${shown.name}` : title;
  }
  if (query === null) {
    results.clear();
    showSummary("");
    byId("more-row").hidden = true;
    showNotice(words.unknownPicture);
    return;
  }

  const cached = cachedAnswer();
  if (cached.results.length >= state.count || cached.exhausted) return showResults(cached);
  if (sameQuery) results.dim();
  else {
    results.showLoading();
    showSummary("Searching …");
    byId("more-row").hidden = true;
  }
  try {
    const found = await search(query, cached, signal);
    if (!signal.aborted) showResults(found);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    showError(error, query);
  }
}

function showSummary(text) {
  byId("found-summary").textContent = text;
}

function showResults(found) {
  const shown = found.results.slice(0, state.count);
  const isComplete = found.exhausted && found.results.length <= state.count;
  results.show(shown, found.threshold);
  byId("more-row").hidden = isComplete || state.count >= MAX_RESULTS;
  byId("scale-text").replaceChildren(...makeParagraphs(words.scale(found.threshold)));
  byId("scale").hidden = shown.length === 0;
  if (shown.length === 0) {
    showSummary("");
    if (countFilters(state) || state.others) showNotice(words.nothingMatches, clearFilters);
    else showNotice(words.noOtherPicture);
    return;
  }
  const summary = words.summarize(shown.length, state, about, isComplete);
  showSummary(summary);
  announce(summary);
  if (found.in_catalogue === false) {
    showNotice(words.notInCatalogue(shown[0].similarity, found.threshold, state.crop === null));
  } else showNotice(null);
}

const clearFilters = () =>
  navigate({
    ...state,
    any: [],
    every: [],
    none: [],
    minPercent: 0,
    others: false,
    count: PAGE_SIZE,
  });

function showError(error, query) {
  results.clear();
  showSummary("");
  byId("scale").hidden = true;
  byId("more-row").hidden = true;
  const retry = () => show(state);
  if (error instanceof UnreachableError) {
    showNotice(words.unreachable, retry);
    addEventListener("online", retry, { once: true, signal: running.signal });
  } else if (error instanceof ApiError && isKeyError(error)) {
    apiKey.remove();
    askForKey(true).then(retry);
  } else if (error instanceof ApiError) {
    const context = {
      name: query.name,
      formats: about.formats,
      maxBytes: about.max_upload_bytes,
    };
    showNotice(words.explainError(error, context), retry);
  } else throw error;
}

// --- searching ----------------------------------------------------------------------------------

const cacheKey = () => formatAddress({ ...state, count: PAGE_SIZE });

function cachedAnswer() {
  return answers.get(cacheKey()) ?? { results: [], exhausted: false };
}

/** Request the missing results of the state; return all of them, and cache them. */
async function search(query, cached, signal) {
  const [address, offset] = [cacheKey(), cached.results.length];
  const k = state.count - offset;
  const form = await makeForm(query, offset, k, signal);
  const path = form.has("image") ? "search" : pathOf("search/similar-to", query.name);
  const onBusy = (seconds) => showNotice(words.busy(seconds));
  const answer = await requestJson(path, { method: "POST", body: form, signal, onBusy });
  if (version !== null && answer.index !== version) {
    await resetForIndex(answer.index);
    // The cached results come from another index; do not mix pages of both.
    if (offset > 0) return search(query, { results: [] }, signal);
  }
  version = answer.index;
  const found = {
    ...answer,
    results: [...cached.results, ...answer.results],
    exhausted: answer.results.length < k,
  };
  answers.set(address, found);
  if (answers.size > CACHED_ANSWERS) answers.delete(answers.keys().next().value);
  return found;
}

async function makeForm(query, offset, k, signal) {
  const form = new FormData();
  if (query.blob) form.append("image", query.blob, query.name);
  else if (state.crop) {
    // Search for a part of an indexed picture as for any other picture.
    const blob = await (await request(pathOf("images", query.name), { signal })).blob();
    form.append("image", blob, query.name.split("/").at(-1));
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
  if (state.minPercent) {
    form.append("max_distance", words.distanceAt(state.minPercent).toFixed(6));
  }
  return form;
}

/** Clear the cache because the server has another index. */
async function resetForIndex(index) {
  version = index;
  answers.clear();
  await loadAbout();
}

// --- actions ------------------------------------------------------------------------------------

/** Search for the first of the files that the user gave. */
async function searchForFile(files) {
  const [file] = files;
  if (!file || about === null || about.pictures === 0) return;
  if (file.type && !file.type.startsWith("image/")) return showHint(words.notAPicture(file.name));
  if (file.size > about.max_upload_bytes) {
    return showHint(words.tooLarge(file, about.max_upload_bytes));
  }
  showHint(files.length > 1 ? words.onlyTheFirst(files) : null);
  const picture = await storePicture(file);
  return navigate(
    { ...state, like: null, picture, crop: null, others: false, count: PAGE_SIZE },
    { focus: true },
  );
}

byId("grid").addEventListener("click", (event) => follow(event, (link) => results.resultOf(link)));

/** Follow a link to a search within the page, unless the user opens it in a new tab. */
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
  showHint(null);
  navigate(parseAddress(new URL(link.href).search), { focus: true, item: resultOf(link)?.item_id });
}

byId("whole").addEventListener("click", () => {
  navigate({ ...state, crop: null, count: PAGE_SIZE });
  byId("frame").focus({ preventScroll: true });
});
byId("more").addEventListener("click", async () => {
  const shown = byId("grid").querySelectorAll("a").length;
  const count = Math.min(MAX_RESULTS, state.count + PAGE_SIZE);
  await navigate({ ...state, count }, { replace: true });
  results.linkAt(shown + 1)?.focus();
});
byId("hint-close").addEventListener("click", () => showHint(null));
document.querySelector(".mark").addEventListener("click", (event) => follow(event, () => null));
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});

byId("starts-list").addEventListener("click", (event) =>
  follow(event, (link) => ({ item_id: link.dataset.item })),
);

// --- start --------------------------------------------------------------------------------------

/** Load the server's facts and labels. */
async function loadAbout() {
  about = await requestJson("about");
  if (about.api_key && !apiKey.get()) await askForKey(false);
  for (;;) {
    try {
      refine.setLabels((await requestJson("labels")).labels);
      break;
    } catch (error) {
      if (!(error instanceof ApiError && isKeyError(error))) throw error;
      apiKey.remove();
      await askForKey(true);
    }
  }
  byId("facts").textContent = `${words.count(about.pictures, "picture")} · ${about.model.name}`;
  byId("limits").textContent = words.limits(about);
  byId("no-pictures").hidden = about.images;
  // Phones convert their photos to one of the accepted formats.
  const accepted = about.formats.map((format) => `image/${format.toLowerCase()}`).join();
  for (const input of document.querySelectorAll("[data-intake]")) input.accept = accepted;
}

async function start() {
  try {
    await loadAbout();
  } catch (error) {
    if (!(error instanceof UnreachableError || error instanceof ApiError)) throw error;
    const message =
      error instanceof UnreachableError
        ? words.unreachable
        : words.explainError(error, { name: "", formats: [], maxBytes: 0 });
    return showAlone(message, start);
  }
  const scroll = history.state?.scroll ?? 0;
  await show(parseAddress());
  await restoreScroll(scroll);
}

byId("refine").open = matchMedia("(min-width: 56rem)").matches;
watchIntake(searchForFile, byId("veil"));
deleteOldPictures();
start();
