// The dialog that asks for the API key.

import { apiKey } from "./api.js";
import { showAlone } from "./messages.js";
import { keyNeeded } from "./words.js";

const byId = (id) => document.getElementById(id);

export const isKeyError = (error) => error.status === 401 || error.status === 403;

/** Ask for the key until the user enters one. */
export function askForKey(wasWrong) {
  const dialog = byId("key");
  byId("key-text").textContent = wasWrong
    ? "This key was not accepted. Is it complete?"
    : "Ask the operator of this server for one. Your browser keeps it until you close this tab.";
  byId("key-input").value = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = byId("key-input").value.trim();
        if (given) {
          apiKey.set(given);
          resolve();
        } else showAlone(keyNeeded, () => askForKey(wasWrong).then(resolve));
      },
      { once: true },
    );
  });
}
