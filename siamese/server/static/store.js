// The pictures that the user gave, by number, so that "back" and "reload" find them again. They are
// in the browser's database for a day; where it gives none (private windows), in memory.

const DAY = 24 * 60 * 60 * 1000;
const MOST = 30;
const inMemory = new Map();
let opened;

/** Keep a file; returns its number. */
export async function keep(file) {
  const kept = { id: newNumber(), name: file.name || "picture", blob: file, at: Date.now() };
  inMemory.set(kept.id, kept);
  try {
    await inStore("readwrite", (store) => store.put(kept));
    await forgetOld();
  } catch {
    // In memory it is.
  }
  return kept.id;
}

/** Return {id, name, blob} by its number, or null where this browser has none. */
export async function recall(id) {
  if (inMemory.has(id)) return inMemory.get(id);
  try {
    return (await inStore("readonly", (store) => store.get(id))) ?? null;
  } catch {
    return null;
  }
}

/** Let go of what is older than a day, and of the oldest where there are many. */
export async function forgetOld() {
  try {
    const all = await inStore("readonly", (store) => store.getAll());
    const newestFirst = all.sort((one, other) => other.at - one.at);
    const old = newestFirst.filter(({ at }, place) => place >= MOST || at < Date.now() - DAY);
    for (const { id } of old) await inStore("readwrite", (store) => store.delete(id));
  } catch {
    // Nothing is stored.
  }
}

const newNumber = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

function database() {
  opened ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open("siamese", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("pictures", { keyPath: "id" });
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
  return opened;
}

async function inStore(mode, work) {
  const asked = work((await database()).transaction("pictures", mode).objectStore("pictures"));
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}
