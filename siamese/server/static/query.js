// The query picture beside the results.

import { pathOf, showPicture } from "./api.js";
import { loadPicture } from "./store.js";

const byId = (id) => document.getElementById(id);
let objectUrl = null; // of the user's picture

/** Return the picture to search for: {name, blob} of the user's, {name} of the index, or null. */
export async function findQuery(state) {
  return state.like === null ? loadPicture(state.picture) : { name: state.like };
}

/**
 * Show the query picture and its name.
 *
 * @param {object | null} query see `findQuery`
 * @param {object} options
 * @param {boolean} options.isIndexed whether it is a picture of the index
 * @param {boolean} options.hasImages whether the server has the pictures of the index
 * @returns {{name: string, loaded: Promise<void>}} its name; `loaded` resolves once it has a size
 */
export function showQuery(query, { isIndexed, hasImages }) {
  const [image, stage] = [byId("asked-picture"), byId("stage")];
  if (objectUrl) URL.revokeObjectURL(objectUrl);
  objectUrl = null;
  image.removeAttribute("src");
  stage.classList.remove("loaded");
  byId("asked-title").textContent = isIndexed ? "More like this" : "Your picture";
  const name = history.state?.item ?? query?.name.split("/").slice(-2).join("/") ?? "";
  byId("asked-name").textContent = name;
  byId("asked-name").title = query?.name ?? "";
  image.alt = name && `The query picture: ${name}`;

  stage.hidden = query === null || (isIndexed && !hasImages);
  setFixed(stage, stage.hidden);
  if (stage.hidden) return { name, loaded: Promise.resolve() };
  const loaded = new Promise((resolve) => {
    image.onload = () => {
      stage.classList.add("loaded");
      resolve();
    };
    image.onerror = () => {
      // The file is missing, or the server reads its format but this browser does not.
      stage.hidden = true;
      setFixed(stage, true);
      resolve();
    };
  });
  if (query.blob) {
    objectUrl = URL.createObjectURL(query.blob);
    image.src = objectUrl;
  } else showPicture(image, pathOf("images", query.name));
  return { name, loaded };
}

/** Disable or enable the frame on the picture. */
function setFixed(stage, isFixed) {
  stage.classList.toggle("fixed", isFixed);
  byId("frame").hidden = isFixed;
  byId("crop-hint").hidden = isFixed || stage.hidden;
  byId("frame-help").hidden = isFixed || stage.hidden;
}
