// The state of a search, and its URL. Each state has one URL, so that the back button works and a
// shared link shows the same results.
//
//   like           picture of the index, by its filename     ?like=mugs/017-front.jpg
//   picture        the user's picture, by its id             ?picture=m2k4…
//   crop           part to search for: x, y, width, height   &crop=0.1,0.2,0.5,0.5
//   any, every, none   labels                                &any=red&any=blue&none=plastic
//   byItem         one result per item                       &items=1
//   others         leave out the item of `like`              &others=1
//   minPercent     minimum similarity in percent             &least=70
//   count          number of results shown                   &count=48

export const PAGE_SIZE = 24;
export const MAX_RESULTS = 1000; // per request, a limit of the server

export const EMPTY_STATE = Object.freeze({
  like: null,
  picture: null,
  crop: null,
  any: [],
  every: [],
  none: [],
  byItem: false,
  others: false,
  minPercent: 0,
  count: PAGE_SIZE,
});

/** Read the state from the query of a URL. */
export function parseAddress(search = location.search) {
  const params = new URLSearchParams(search);
  const like = params.get("like");
  return {
    like,
    picture: like === null ? params.get("picture") : null,
    crop: parseCrop(params.get("crop")),
    any: params.getAll("any"),
    every: params.getAll("every"),
    none: params.getAll("none"),
    byItem: params.get("items") === "1",
    others: params.get("others") === "1",
    minPercent: parseInteger(params.get("least"), 0, 99) ?? 0,
    count: parseInteger(params.get("count"), PAGE_SIZE, MAX_RESULTS) ?? PAGE_SIZE,
  };
}

/** Return the relative URL of a state. */
export function formatAddress(state) {
  const params = new URLSearchParams();
  for (const name of ["like", "picture"]) if (state[name] !== null) params.set(name, state[name]);
  if (state.crop) params.set("crop", state.crop.join(","));
  for (const name of ["any", "every", "none"]) {
    for (const label of state[name]) params.append(name, label);
  }
  if (state.byItem) params.set("items", "1");
  if (state.others) params.set("others", "1");
  if (state.minPercent) params.set("least", state.minPercent);
  if (state.count > PAGE_SIZE) params.set("count", state.count);
  // Slashes and commas need no escape in a query, and are easier to read without.
  const query = params.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
  return query ? `?${query}` : "./";
}

/** Return whether a state has a picture to search for. */
export const hasQuery = (state) => state.like !== null || state.picture !== null;

/** Return the number of filters in use. */
export const countFilters = (state) =>
  state.any.length + state.every.length + state.none.length + (state.minPercent > 0 ? 1 : 0);

function parseCrop(text) {
  const [x, y, width, height, ...rest] = (text ?? "").split(",").map(Number);
  const isInside =
    x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= 1.001 && y + height <= 1.001;
  return isInside && rest.length === 0 ? [x, y, width, height] : null;
}

function parseInteger(text, min, max) {
  const number = Number.parseInt(text ?? "", 10);
  return Number.isNaN(number) ? null : Math.min(max, Math.max(min, number));
}
