// The grid of results.

import { showPicture } from "./api.js";
import { dividerText, percent } from "./words.js";

const SKELETONS = 12;
// A nearly square picture fills its tile; others are shown whole.
const NEARLY_SQUARE = [0.72, 1.4]; // aspect ratios

/**
 * @param {HTMLOListElement} grid
 * @param {(result: object) => string} hrefOf returns the URL of a search for a result
 */
export function makeResults(grid, hrefOf) {
  const template = document.getElementById("card");
  let shown = [];
  let threshold = null;

  const makeCard = (result) => {
    const card = template.content.firstElementChild.cloneNode(true);
    const link = card.querySelector("a");
    link.href = hrefOf(result);
    link.title = `distance ${result.distance.toFixed(3)} · ${result.filename}`;
    link.dataset.rank = result.rank;
    card.querySelector(".similarity b").textContent = `${percent(result.similarity)}%`;
    card.querySelector(".bar").style.setProperty("--similarity", Math.max(0, result.similarity));
    // Screen readers read the item from the picture's alternative text.
    const item = card.querySelector(".item");
    item.textContent = result.item_id;
    item.setAttribute("aria-hidden", "true");
    card.querySelector(".card-labels").textContent = result.labels.join(", ");
    fillTile(card.querySelector(".tile"), result);
    return card;
  };

  const makeDivider = () => {
    const line = document.createElement("li");
    line.className = "divider";
    line.textContent = dividerText;
    return line;
  };

  const makeNodes = (results) => {
    const nodes = [];
    for (const result of results) {
      const previous = shown.at(-1);
      const crossesThreshold =
        threshold !== null && previous?.distance <= threshold && result.distance > threshold;
      if (crossesThreshold && !grid.querySelector(".divider")) nodes.push(makeDivider());
      nodes.push(makeCard(result));
      shown.push(result);
    }
    return nodes;
  };

  return {
    /** Show results; keep the cards that are already there. */
    show(results, newThreshold) {
      const isContinued =
        threshold === newThreshold &&
        shown.length > 0 &&
        shown.every((result, position) => result === results[position]);
      if (!isContinued) {
        shown = [];
        threshold = newThreshold;
        grid.replaceChildren();
      }
      grid.append(...makeNodes(results.slice(shown.length)));
      grid.removeAttribute("aria-busy");
    },
    /** Show placeholders until results arrive. */
    showLoading() {
      shown = [];
      grid.setAttribute("aria-busy", "true");
      const skeleton = document.createElement("li");
      skeleton.className = "skeleton";
      skeleton.setAttribute("aria-hidden", "true");
      grid.replaceChildren(...Array.from({ length: SKELETONS }, () => skeleton.cloneNode()));
    },
    /** Mark the results as about to be replaced. */
    dim() {
      grid.setAttribute("aria-busy", "true");
    },
    clear() {
      shown = [];
      grid.replaceChildren();
      grid.removeAttribute("aria-busy");
    },
    /** Return the link of a result by its rank. */
    linkAt: (rank) => grid.querySelector(`a[data-rank="${rank}"]`),
    /** Return the result of a link. */
    resultOf: (link) => shown.find(({ rank }) => rank === Number(link.dataset.rank)),
  };
}

/** Return the URL of a thumbnail in the resolution of this screen. */
function thumbnailUrl(url) {
  const address = new URL(url, location.href);
  address.searchParams.set("size", devicePixelRatio > 1.25 ? 512 : 256);
  return address.href;
}

/** Show a result's picture in a tile, or the initial of its item if there is no picture. */
export function fillTile(tile, { item_id, thumbnail_url, image_url }) {
  const image = tile.querySelector("img");
  const url = thumbnail_url ? thumbnailUrl(thumbnail_url) : image_url;
  const showInitial = () => {
    tile.classList.add("without");
    tile.dataset.initial = item_id.match(/\p{L}/u)?.[0].toUpperCase() ?? "?";
    image.remove();
    tile.parentElement.querySelector(".item")?.removeAttribute("aria-hidden");
  };
  if (url === null) {
    showInitial();
    return;
  }
  image.alt = item_id;
  image.loading = "lazy";
  image.decoding = "async";
  image.addEventListener("error", showInitial, { once: true });
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
