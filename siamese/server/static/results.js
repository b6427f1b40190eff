// The grid of results.

import { showPicture } from "./api.js";
import { fromHereOn, percent } from "./words.js";

const SKELETONS = 12;
// Pictures that are nearly square fill their tile; longer ones are shown whole.
const NEARLY_SQUARE = [0.72, 1.4];

/**
 * @param {HTMLOListElement} grid
 * @param {(result: object) => string} hrefOf the address of a search from a result
 */
export function makeResults(grid, hrefOf) {
  const template = document.getElementById("card");
  let shown = [];
  let threshold = null;

  const cardOf = (result) => {
    const card = template.content.firstElementChild.cloneNode(true);
    const link = card.querySelector("a");
    link.href = hrefOf(result);
    link.title = `distance ${result.distance.toFixed(3)} · ${result.filename}`;
    link.dataset.rank = result.rank;
    card.querySelector(".alike b").textContent = `${percent(result.similarity)} %`;
    card.querySelector(".bar").style.setProperty("--alike", Math.max(0, result.similarity));
    // A screen reader has it from the picture.
    const item = card.querySelector(".item");
    item.textContent = result.item_id;
    item.setAttribute("aria-hidden", "true");
    card.querySelector(".card-labels").textContent = result.labels.join(", ");
    fillTile(card.querySelector(".tile"), result);
    return card;
  };

  const divider = () => {
    const line = document.createElement("li");
    line.className = "divider";
    line.textContent = fromHereOn;
    return line;
  };

  const nodesOf = (results) => {
    const nodes = [];
    for (const result of results) {
      const before = shown.at(-1);
      const passes =
        threshold !== null && before?.distance <= threshold && result.distance > threshold;
      if (passes && !grid.querySelector(".divider")) nodes.push(divider());
      nodes.push(cardOf(result));
      shown.push(result);
    }
    return nodes;
  };

  return {
    /** Show results; those that are there already stay. */
    show(results, itsThreshold) {
      const goesOn =
        threshold === itsThreshold &&
        shown.length > 0 &&
        shown.every((result, place) => result === results[place]);
      if (!goesOn) {
        shown = [];
        threshold = itsThreshold;
        grid.replaceChildren();
      }
      grid.append(...nodesOf(results.slice(shown.length)));
      grid.removeAttribute("aria-busy");
    },
    /** Show that results are on their way. */
    wait() {
      shown = [];
      grid.setAttribute("aria-busy", "true");
      const skeleton = document.createElement("li");
      skeleton.className = "skeleton";
      skeleton.setAttribute("aria-hidden", "true");
      grid.replaceChildren(...Array.from({ length: SKELETONS }, () => skeleton.cloneNode()));
    },
    /** Show that other results will take the place of these. */
    dim() {
      grid.setAttribute("aria-busy", "true");
    },
    clear() {
      shown = [];
      grid.replaceChildren();
      grid.removeAttribute("aria-busy");
    },
    /** The link of a result by its rank. */
    linkAt: (rank) => grid.querySelector(`a[data-rank="${rank}"]`),
    /** The result of a link. */
    resultOf: (link) => shown.find(({ rank }) => rank === Number(link.dataset.rank)),
  };
}

/** The address of a thumbnail that is sharp on this screen. */
function sized(url) {
  const address = new URL(url, location.href);
  address.searchParams.set("size", devicePixelRatio > 1.25 ? 512 : 256);
  return address.href;
}

/** Show a result's picture in a tile, or its initial where there is none to show. */
export function fillTile(tile, { item_id, thumbnail_url, image_url }) {
  const image = tile.querySelector("img");
  const url = thumbnail_url ? sized(thumbnail_url) : image_url;
  const without = () => {
    tile.classList.add("without");
    tile.dataset.initial = item_id.match(/\p{L}/u)?.[0].toUpperCase() ?? "?";
    image.remove();
    tile.parentElement.querySelector(".item")?.removeAttribute("aria-hidden");
  };
  if (url === null) {
    without();
    return;
  }
  image.alt = item_id;
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("error", without, { once: true });
  image.addEventListener(
    "load",
    () => {
      const aspect = image.naturalWidth / image.naturalHeight;
      tile.classList.toggle("fill", aspect > NEARLY_SQUARE[0] && aspect < NEARLY_SQUARE[1]);
      tile.classList.add("loaded");
    },
    { once: true },
  );
  showPicture(image, url);
}
