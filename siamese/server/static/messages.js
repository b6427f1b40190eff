// Messages to the user: instead of the page, above the results, about a file, to a screen reader.

const byId = (id) => document.getElementById(id);

/** Tell a screen reader a text. */
export function announce(text) {
  byId("live").textContent = text;
}

/** Show one of the three sections of the page. */
export function showSection(name) {
  for (const id of ["welcome", "search", "alone"]) byId(id).hidden = id !== name;
}

/** Show a message instead of the page. */
export function showAlone({ title, text, action }, onAction) {
  showSection("alone");
  document.title = title;
  byId("alone-title").textContent = title;
  byId("alone-text").replaceChildren(...makeParagraphs(text), ...makeButtons(action, onAction));
  byId("alone-title").focus({ preventScroll: true });
}

/** Show a message above the results, or remove it. */
export function showNotice(message, onAction) {
  byId("notice").hidden = message === null;
  if (message === null) return;
  const heading = Object.assign(document.createElement("h2"), { textContent: message.title });
  byId("notice").replaceChildren(
    heading,
    ...makeParagraphs(message.text),
    ...makeButtons(message.action, onAction),
  );
  announce(`${message.title}. ${message.text[0]}`);
}

/** Show a message about a file until the next action, or remove it. */
export function showHint(message) {
  byId("hint").hidden = message === null;
  if (message === null) return;
  const heading = Object.assign(document.createElement("b"), { textContent: message.title });
  byId("hint-text").replaceChildren(heading, ` ${message.text.join(" ")}`);
}

export const makeParagraphs = (texts) =>
  texts.map((text) => {
    // Show a command as code.
    const line = document.createElement(text.startsWith("siamese ") ? "pre" : "p");
    line.textContent = text;
    return line;
  });

function makeButtons(action, onAction) {
  if (!action) return [];
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button";
  button.textContent = action;
  button.addEventListener("click", onAction);
  return [button];
}
