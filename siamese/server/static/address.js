// What is searched for, and its way into the address and back. One state, one address: so the back
// button works, and a link shows to others what it shows to you.
//
//   like      a picture of the index, by its filename      ?like=mugs/017-front.jpg
//   picture   a picture of the user's, by its number       ?picture=m2k4…
//   crop      the part that is meant, x, y, width, height  &crop=0.1,0.2,0.5,0.5
//   any, every, none   labels                              &any=red&any=blue&none=plastic
//   byItem    one result an item                           &items=1
//   others    not the item of `like` itself                &others=1
//   least     how alike at least, in percent               &least=70
//   count     how many results are shown                   &count=48

export const PAGE = 24;
export const MOST = 1000; // of the server, in one answer

export const NOTHING = Object.freeze({
  like: null,
  picture: null,
  crop: null,
  any: [],
  every: [],
  none: [],
  byItem: false,
  others: false,
  least: 0,
  count: PAGE,
});

export function readAddress(search = location.search) {
  const given = new URLSearchParams(search);
  const like = given.get("like");
  return {
    like,
    picture: like === null ? given.get("picture") : null,
    crop: readCrop(given.get("crop")),
    any: given.getAll("any"),
    every: given.getAll("every"),
    none: given.getAll("none"),
    byItem: given.get("items") === "1",
    others: given.get("others") === "1",
    least: whole(given.get("least"), 0, 99) ?? 0,
    count: whole(given.get("count"), PAGE, MOST) ?? PAGE,
  };
}

export function addressOf(state) {
  const given = new URLSearchParams();
  for (const name of ["like", "picture"]) if (state[name] !== null) given.set(name, state[name]);
  if (state.crop) given.set("crop", state.crop.join(","));
  for (const name of ["any", "every", "none"]) {
    for (const label of state[name]) given.append(name, label);
  }
  if (state.byItem) given.set("items", "1");
  if (state.others) given.set("others", "1");
  if (state.least) given.set("least", state.least);
  if (state.count > PAGE) given.set("count", state.count);
  // Slashes and commas may stand in a query as they are, and are easier to read so.
  const text = given.toString().replaceAll("%2F", "/").replaceAll("%2C", ",");
  return text ? `?${text}` : "./";
}

/** Whether there is something to search for. */
export const asks = (state) => state.like !== null || state.picture !== null;

/** How many filters are in use. */
export const filters = (state) =>
  state.any.length + state.every.length + state.none.length + (state.least > 0 ? 1 : 0);

function readCrop(text) {
  const [x, y, width, height, ...rest] = (text ?? "").split(",").map(Number);
  const fits =
    x >= 0 && y >= 0 && width > 0 && height > 0 && x + width <= 1.001 && y + height <= 1.001;
  return fits && rest.length === 0 ? [x, y, width, height] : null;
}

function whole(text, least, most) {
  const number = Number.parseInt(text ?? "", 10);
  return Number.isNaN(number) ? null : Math.min(most, Math.max(least, number));
}
