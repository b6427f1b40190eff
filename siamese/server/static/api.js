// The server, as the page knows it: its answers, its refusals, its silence.

const KEY = "siamese-api-key";
const TRIES = 5;

/** The server answered, but not with what was asked for. */
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The server did not answer at all. */
export class Silence extends Error {}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/**
 * Fetch, with the key if there is one, and again as long as the server is busy.
 *
 * @param {string} path relative to the page, so that it may live under any prefix
 * @param {object} options as of fetch; `onBusy(seconds)` is told before each wait
 */
export async function ask(path, { onBusy = () => {}, ...options } = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await once(path, options);
    if (answer.ok) return answer;
    if ((answer.status === 503 || answer.status === 429) && attempt < TRIES) {
      const seconds = Math.min(30, Math.max(1, Number(answer.headers.get("Retry-After")) || 2));
      onBusy(seconds);
      await wait(seconds, options.signal);
      continue;
    }
    throw new Refusal(answer.status, await reason(answer));
  }
}

export const askJson = async (path, options) => (await ask(path, options)).json();

/** The path of a file below one of the server's folders; a name may hold any character. */
export const pathOf = (folder, filename) =>
  `${folder}/${filename.split("/").map(encodeURIComponent).join("/")}`;

async function once(path, options) {
  const headers = new Headers(options.headers);
  if (key.get()) headers.set("Authorization", `Bearer ${key.get()}`);
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Silence("the server does not answer");
  }
}

async function reason(answer) {
  try {
    return String((await answer.json()).error);
  } catch {
    return `${answer.status} ${answer.statusText}`.trim();
  }
}

function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("no longer wanted", "AbortError"));
    });
  });
}

// --- pictures -----------------------------------------------------------------------------------

// A picture that needs the key cannot be fetched by its element: then it is, as it comes into view.
const awaited = new WeakMap();
const comingIntoView = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      comingIntoView.unobserve(target);
      fetchInto(target, awaited.get(target));
    }
  },
  { rootMargin: "400px" },
);

/** Let an <img> show a picture of the server; its error event tells that there is none. */
export function showPicture(image, url) {
  if (!key.get()) {
    image.src = url;
    return;
  }
  awaited.set(image, url);
  comingIntoView.observe(image);
}

async function fetchInto(image, url) {
  try {
    const shown = URL.createObjectURL(await (await ask(url)).blob());
    const done = () => URL.revokeObjectURL(shown);
    image.addEventListener("load", done, { once: true });
    image.addEventListener("error", done, { once: true });
    image.src = shown;
  } catch {
    image.dispatchEvent(new Event("error"));
  }
}
