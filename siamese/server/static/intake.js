// The ways to give a picture: choose a file, take a photo, drop, paste.

/**
 * @param {(files: File[]) => void} onFiles called with the files
 * @param {HTMLElement} veil covers the page while a file is dragged over it
 */
export function watchIntake(onFiles, veil) {
  for (const input of document.querySelectorAll("[data-intake]")) {
    input.addEventListener("change", () => {
      onFiles([...input.files]);
      input.value = ""; // so that the same file can be chosen again
    });
  }

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    onFiles(files);
  });

  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    onFiles([...event.dataTransfer.files]);
  });
}
