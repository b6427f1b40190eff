// Requests to the server.

const KEY = "siamese-api-key";
const MAX_TRIES = 5;

/** The server answered with an error. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer. */
export class UnreachableError extends Error {}

/** The API key, kept until the tab is closed. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  remove: () => sessionStorage.removeItem(KEY),
};

/**
 * Fetch with the API key, and try again while the server is busy.
 *
 * @param {string} path relative to the page, so that the page works under any prefix
 * @param {object} options those of fetch, and `onBusy(seconds)`, called before each retry
 */
export async function request(path, { onBusy = () => {}, ...options } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetchWithKey(path, options);
    if (response.ok) return response;
    if ((response.status === 503 || response.status === 429) && attempt < MAX_TRIES) {
      const seconds = Math.min(30, Math.max(1, Number(response.headers.get("Retry-After")) || 2));
      onBusy(seconds);
      await wait(seconds, options.signal);
      continue;
    }
    throw new ApiError(response.status, await readError(response));
  }
}

export const requestJson = async (path, options) => (await request(path, options)).json();

/** Return the path of a file in a folder of the server; its name can contain any character. */
export const pathOf = (folder, filename) =>
  `${folder}/${filename.split("/").map(encodeURIComponent).join("/")}`;

async function fetchWithKey(path, options) {
  const headers = new Headers(options.headers);
  if (apiKey.get()) headers.set("Authorization", `Bearer ${apiKey.get()}`);
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new UnreachableError("the server does not answer");
  }
}

async function readError(response) {
  try {
    return String((await response.json()).error);
  } catch {
    return `${response.status} ${response.statusText}`.trim();
  }
}

function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}

// --- pictures -----------------------------------------------------------------------------------

// An <img> cannot send the API key. With a key, its picture is fetched once it comes into view.
const pendingUrls = new WeakMap();
const viewObserver = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      viewObserver.unobserve(target);
      fetchInto(target, pendingUrls.get(target));
    }
  },
  { rootMargin: "400px" },
);

/** Show a picture of the server in an <img>, which fires an error event if there is none. */
export function showPicture(image, url) {
  if (!apiKey.get()) {
    image.src = url;
    return;
  }
  pendingUrls.set(image, url);
  viewObserver.observe(image);
}

async function fetchInto(image, url) {
  try {
    const objectUrl = URL.createObjectURL(await (await request(url)).blob());
    const release = () => URL.revokeObjectURL(objectUrl);
    image.addEventListener("load", release, { once: true });
    image.addEventListener("error", release, { once: true });
    image.src = objectUrl;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}
