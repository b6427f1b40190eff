// What the page says. A message is {title, text: [paragraph, …], action?: the words on a button}.

export const number = (value) => value.toLocaleString("en");

export const count = (many, one, several = `${one}s`) =>
  `${number(many)} ${many === 1 ? one : several}`;

/** 100 % is for the same picture alone: what merely rounds to it is 99 %. */
export const percent = (similarity) =>
  similarity > 0.9999 ? 100 : Math.min(99, Math.max(0, Math.round(similarity * 100)));

/** Of vectors of length 1: distance² = 2 − 2 · cosine. */
export const similarityAt = (distance) => 1 - distance ** 2 / 2;

/** The distance within which everything is that is shown as so many percent, or more. */
export const distanceAt = (percentage) => Math.sqrt(2 - 2 * ((percentage - 0.5) / 100));

export function bytes(many) {
  if (many < 1000) return `${many} bytes`;
  if (many < 999_500) return `${Math.round(many / 1000)} kB`;
  return `${(many / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
}

export const limits = ({ formats, max_upload_bytes }) =>
  `${formats.join(", ")} · up to ${bytes(max_upload_bytes)}`;

export const scale = (threshold) => [
  "It is how alike the model finds two pictures: 100 % for the same picture, 0 % for two that have " +
    "nothing in common. It ranks well; it is no probability.",
  ...(threshold === null
    ? []
    : [
        `With this model, pictures of one thing are seldom less than ` +
          `${percent(similarityAt(threshold))} % alike.`,
      ]),
  "In numbers: the cosine between the pictures’ vectors. Their distance, from 0 to 2, shows when you " +
    "point at a result: distance² = 2 − 2 · cosine.",
];

// --- before a search ----------------------------------------------------------------------------

export const noPicture = (name) => ({
  title: "This is not a picture",
  text: [`“${name}” is another kind of file.`],
});

export const tooLarge = (file, most) => ({
  title: "This picture is too large",
  text: [
    `“${file.name}” has ${bytes(file.size)}; this server takes up to ${bytes(most)}. ` +
      "A smaller copy finds the same: 1,000 pixels are plenty.",
  ],
});

export const onlyTheFirst = (files) => ({
  title: `One picture at a time`,
  text: [`You gave ${files.length}; “${files[0].name}” is searched for.`],
});

// --- instead of a search ------------------------------------------------------------------------

export const empty = {
  title: "There is nothing to search yet",
  text: [
    "The index of this server holds no pictures. Whoever runs it can fill one and start the server with it:",
    "siamese index --labeled-data items.json --image-dir photos --output search_index.pkl",
  ],
};

export const silent = {
  title: "The server does not answer",
  text: ["It may be starting anew, or your connection is gone. Nothing of yours is lost."],
  action: "Try again",
};

export const keyNeeded = {
  title: "This search asks for a key",
  text: ["Without one it shows nothing."],
  action: "Enter the key",
};

export const forgotten = {
  title: "This picture is no longer here",
  text: [
    "The address is of a picture that somebody gave in another browser, or more than a day ago. " +
      "Pictures are not in links, only what they were searched with.",
  ],
};

// --- instead of results -------------------------------------------------------------------------

/** Why there are no results, by what the server answered. */
export function refused({ status, message }, { name, formats, most }) {
  if (status === 413) {
    return {
      title: "This picture is too large",
      text: [`The server takes up to ${bytes(most)}. It says: ${message}`],
    };
  }
  if (status === 415 || (status === 422 && message.startsWith("image:"))) {
    return {
      title: "This picture cannot be read",
      text: [
        `“${name}” may be damaged, or of a format that is not taken here. These are: ${formats.join(", ")}.`,
        `The server says: ${message}`,
      ],
    };
  }
  if (status === 404) {
    return {
      title: "This picture is not in the index",
      text: [`“${name}” may have been there once. Start from another one.`],
    };
  }
  if (status === 503 || status === 429) {
    return {
      title: "Too many are searching right now",
      text: ["The server was asked several times and is still busy."],
      action: "Try again",
    };
  }
  return {
    title: "This search did not work",
    text: [`The server says: ${message}`],
    action: "Try again",
  };
}

export const busy = (seconds) => ({
  title: "Many are searching right now",
  text: [`Yours is next: it is tried again in ${count(seconds, "second")}.`],
});

export const nothingLeft = {
  title: "No picture passes your filters",
  text: ["Take one of them away, or all."],
  action: "Clear the filters",
};

export const nothingElse = {
  title: "There is no other picture",
  text: ["The index holds this one alone."],
};

// --- beside results -----------------------------------------------------------------------------

export const notInCatalogue = (nearest, threshold, isWhole) => ({
  title: "Probably not in this catalogue",
  text: [
    `The nearest is ${percent(nearest)} % alike; pictures of one thing are seldom below ` +
      `${percent(similarityAt(threshold))} %. This is what comes closest.` +
      (isWhole ? " Is there more in your picture than you mean? Draw a frame around that." : ""),
  ],
});

export const fromHereOn = "From here on, probably something else";

export function summary(shown, state, about, all) {
  const what = state.byItem ? "item" : "picture";
  if (state.any.length + state.every.length + state.none.length + state.least > 0) {
    return all
      ? `${count(shown, what)} ${shown === 1 ? "passes" : "pass"} your filters, the most alike first.`
      : `The ${count(shown, what)} most alike of those that pass your filters.`;
  }
  const most = shown === 1 ? "The most alike" : `The ${number(shown)} most alike`;
  return state.byItem
    ? `${most} items, each by its nearest of ${count(about.pictures, "picture")}.`
    : `${most} of ${count(about.pictures, "picture")}.`;
}
