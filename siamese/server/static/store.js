// The user's pictures, so that "back" and "reload" find them again. The browser's database keeps
// them for a day; without a database (in private windows) they are kept in memory.

const DAY = 24 * 60 * 60 * 1000; // milliseconds
const MAX_PICTURES = 30;
const inMemory = new Map();
let opening;

/** Store a file and return its id. */
export async function storePicture(file) {
  const picture = { id: newId(), name: file.name || "picture", blob: file, at: Date.now() };
  inMemory.set(picture.id, picture);
  try {
    await inStore("readwrite", (store) => store.put(picture));
    await deleteOldPictures();
  } catch {
    // The picture stays in memory.
  }
  return picture.id;
}

/** Return {id, name, blob} of a picture, or null if this browser does not have it. */
export async function loadPicture(id) {
  if (inMemory.has(id)) return inMemory.get(id);
  try {
    return (await inStore("readonly", (store) => store.get(id))) ?? null;
  } catch {
    return null;
  }
}

/** Delete pictures that are older than a day, and the oldest beyond the maximum number. */
export async function deleteOldPictures() {
  try {
    const pictures = await inStore("readonly", (store) => store.getAll());
    pictures.sort((a, b) => b.at - a.at); // newest first
    const old = pictures.filter(
      ({ at }, position) => position >= MAX_PICTURES || at < Date.now() - DAY,
    );
    for (const { id } of old) await inStore("readwrite", (store) => store.delete(id));
  } catch {
    // Nothing is stored.
  }
}

const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

function database() {
  opening ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("siamese", 1);
    request.onupgradeneeded = () => request.result.createObjectStore("pictures", { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opening;
}

async function inStore(mode, work) {
  const request = work((await database()).transaction("pictures", mode).objectStore("pictures"));
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
