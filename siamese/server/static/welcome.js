// The pictures of the index to start from.

import { EMPTY_STATE, formatAddress } from "./address.js";
import { requestJson } from "./api.js";
import { fillTile } from "./results.js";

const STARTS = 8;

/** Show some pictures of the index, unless they are shown already or the server has no pictures. */
export async function showStarts(about) {
  const list = document.getElementById("starts-list");
  if (!about.images || list.children.length > 0) return;
  // Results far down the ranking of any picture are of all kinds.
  const maxOffset = Math.min(2000, Math.max(0, about.pictures - 4 * STARTS));
  const offset = Math.floor(maxOffset * (1 - Math.random() / 2));
  const body = new URLSearchParams({ k: 4 * STARTS, offset });
  let found;
  try {
    ({ results: found } = await requestJson("search/similar-to/0", { method: "POST", body }));
  } catch {
    return; // The page works without them.
  }
  const byKind = new Map(found.map((result) => [result.labels[0] ?? result.item_id, result]));
  const starts = [...byKind.values()].slice(0, STARTS);
  list.replaceChildren(...starts.map(makeStart));
  document.getElementById("starts").hidden = starts.length === 0;
}

function makeStart(result) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = formatAddress({ ...EMPTY_STATE, like: result.filename });
  link.title = result.item_id;
  link.dataset.item = result.item_id;
  const tile = Object.assign(document.createElement("span"), { className: "tile" });
  tile.append(Object.assign(document.createElement("img"), { width: 128, height: 128 }));
  link.append(tile);
  item.append(link);
  fillTile(tile, result);
  return item;
}
