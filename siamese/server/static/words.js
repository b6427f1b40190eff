// The texts of the page. A message is {title, text: [paragraph, …], action?: label of a button}.

export const number = (value) => value.toLocaleString("en");

export const count = (value, noun, nouns = `${noun}s`) =>
  `${number(value)} ${value === 1 ? noun : nouns}`;

/** Round to percent, but return 100 only for the same picture. */
export const percent = (similarity) =>
  similarity > 0.9999 ? 100 : Math.min(99, Math.max(0, Math.round(similarity * 100)));

/** Return the cosine of vectors of length 1: distance² = 2 − 2 · cosine. */
export const similarityAt = (distance) => 1 - distance ** 2 / 2;

/** Return the largest distance that is shown as a percentage or more. */
export const distanceAt = (percentage) => Math.sqrt(2 - 2 * ((percentage - 0.5) / 100));

export function bytes(value) {
  if (value < 1000) return `${value} bytes`;
  if (value < 999_500) return `${Math.round(value / 1000)} kB`;
  return `${(value / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`;
}

export const limits = ({ formats, max_upload_bytes }) =>
  `${formats.join(", ")} · up to ${bytes(max_upload_bytes)}`;

export const scale = (threshold) => [
  "How similar the model finds two pictures: 100% for the same picture, 0% for two that have " +
    "nothing in common. It is good for ranking, but it is not a probability.",
  ...(threshold === null
    ? []
    : [
        `With this model, pictures of one thing are seldom less than ` +
          `${percent(similarityAt(threshold))}% similar.`,
      ]),
  "Precisely, it is the cosine between the pictures’ vectors. Point at a result to see their " +
    "distance, from 0 to 2: distance² = 2 − 2 · cosine.",
];

// --- before a search ----------------------------------------------------------------------------

export const notAPicture = (name) => ({
  title: "This is not a picture",
  text: [`“${name}” is another kind of file.`],
});

export const tooLarge = (file, maxBytes) => ({
  title: "This picture is too large",
  text: [
    `“${file.name}” has ${bytes(file.size)}; this server accepts up to ${bytes(maxBytes)}. ` +
      "A smaller copy gives the same results: 1,000 pixels are plenty.",
  ],
});

export const onlyTheFirst = (files) => ({
  title: "One picture at a time",
  text: [`You gave ${files.length} files. The search is for “${files[0].name}”.`],
});

// --- instead of a search ------------------------------------------------------------------------

export const emptyIndex = {
  title: "There is nothing to search yet",
  text: [
    "The index of this server has no pictures. Its operator can build one and serve it:",
    "siamese index --labeled-data items.json --image-dir photos --output search_index.pkl",
  ],
};

export const unreachable = {
  title: "The server does not answer",
  text: ["It may be restarting, or you may be offline. Nothing of yours is lost."],
  action: "Try again",
};

export const keyNeeded = {
  title: "This search needs a key",
  text: ["Without a key it shows nothing."],
  action: "Enter the key",
};

export const unknownPicture = {
  title: "This picture is no longer here",
  text: [
    "It was given in another browser, or more than a day ago. Links contain the filters of a " +
      "search, but not its picture.",
  ],
};

// --- instead of results -------------------------------------------------------------------------

/** Explain an error of the server. */
export function explainError({ status, message }, { name, formats, maxBytes }) {
  if (status === 413) {
    return {
      title: "This picture is too large",
      text: [`The server accepts up to ${bytes(maxBytes)}. It says: ${message}`],
    };
  }
  if (status === 415 || (status === 422 && message.startsWith("image:"))) {
    return {
      title: "This picture cannot be read",
      text: [
        `“${name}” may be damaged, or its format may not be accepted. Accepted formats: ` +
          `${formats.join(", ")}.`,
        `The server says: ${message}`,
      ],
    };
  }
  if (status === 404) {
    return {
      title: "This picture is not in the index",
      text: [`“${name}” may have been removed. Start from another picture.`],
    };
  }
  if (status === 503 || status === 429) {
    return {
      title: "Too many people are searching right now",
      text: ["The server is still busy after several tries."],
      action: "Try again",
    };
  }
  return {
    title: "The search failed",
    text: [`The server says: ${message}`],
    action: "Try again",
  };
}

export const busy = (seconds) => ({
  title: "Many people are searching right now",
  text: [`Your search will be tried again in ${count(seconds, "second")}.`],
});

export const nothingMatches = {
  title: "No picture matches your filters",
  text: ["Remove one of them, or all."],
  action: "Clear the filters",
};

export const noOtherPicture = {
  title: "There is no other picture",
  text: ["This is the only picture in the index."],
};

// --- beside results -----------------------------------------------------------------------------

export const notInCatalogue = (similarity, threshold, isWholePicture) => ({
  title: "Probably not in this catalogue",
  text: [
    `The nearest picture is ${percent(similarity)}% similar; pictures of one thing are seldom ` +
      `below ${percent(similarityAt(threshold))}%. These are the closest matches.` +
      (isWholePicture ? " Does your picture show other things too? Draw a frame around one." : ""),
  ],
});

export const dividerText = "From here on, probably something else";

/** Describe the results above the grid. */
export function summarize(shown, state, about, isComplete) {
  const noun = state.byItem ? "item" : "picture";
  const nouns = shown === 1 ? noun : `${noun}s`;
  const match = shown === 1 ? "matches" : "match";
  const most = shown === 1 ? "The most similar" : `The ${number(shown)} most similar`;
  if (state.any.length + state.every.length + state.none.length + state.minPercent > 0) {
    return isComplete
      ? `${count(shown, noun)} ${match} your filters, the most similar first.`
      : `${most} ${nouns} that ${match} your filters.`;
  }
  const all = count(about.pictures, "picture");
  return state.byItem ? `${most} ${nouns}, each by its nearest of ${all}.` : `${most} of ${all}.`;
}
