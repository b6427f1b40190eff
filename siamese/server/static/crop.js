// The frame around the part of the picture to search for. Drag on the picture to draw it, drag the
// frame to move it, drag a corner to resize it, or use the keyboard.
// A crop is [x, y, width, height] in fractions of the upright picture, or null for all of it.

const MIN_SIDE = 0.04; // fraction of the picture's side
const STEP = 0.02;
const KEY_DELAY = 600; // milliseconds after the last key

const clamp = (value, min, max) => Math.min(max, Math.max(min, value));
const round = (crop) => crop.map((value) => Math.round(value * 1000) / 1000);

/**
 * @param {HTMLElement} stage contains the picture and the frame
 * @param {HTMLElement} frame focusable
 * @param {(crop: number[] | null) => void} onCrop called once the user has finished a crop
 * @param {(text: string) => void} announce tells a screen reader
 */
export function makeCrop(stage, frame, onCrop, announce) {
  let crop = null;
  let drag = null;
  let timer = null;

  const draw = () => {
    const [x, y, width, height] = crop ?? [0, 0, 1, 1];
    frame.classList.toggle("whole", crop === null);
    frame.style.left = `${x * 100}%`;
    frame.style.top = `${y * 100}%`;
    frame.style.width = `${width * 100}%`;
    frame.style.height = `${height * 100}%`;
  };

  const setCrop = (next) => {
    const isWhole = next && next[2] > 0.995 && next[3] > 0.995;
    crop = next && !isWhole ? round(next) : null;
    draw();
  };

  const finish = () => {
    clearTimeout(timer);
    onCrop(crop);
  };

  // --- pointer ---

  const positionOf = (event) => {
    const box = stage.getBoundingClientRect();
    return [
      clamp((event.clientX - box.left) / box.width, 0, 1),
      clamp((event.clientY - box.top) / box.height, 0, 1),
    ];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stage.classList.contains("fixed")) return;
    const grip = event.target.dataset.grip;
    const [x, y] = positionOf(event);
    if (crop && grip) {
      // The opposite corner stays in place.
      const [left, top, width, height] = crop;
      drag = {
        kind: "draw",
        from: [grip.includes("w") ? left + width : left, grip.includes("n") ? top + height : top],
      };
    } else if (crop && event.target === frame) {
      drag = { kind: "move", from: [x, y], crop };
    } else {
      drag = { kind: "draw", from: [x, y] };
    }
    drag.before = crop;
    stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragging");
  });

  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [x, y] = positionOf(event);
    const [fromX, fromY] = drag.from;
    if (drag.kind === "move") {
      const [left, top, width, height] = drag.crop;
      setCrop([
        clamp(left + x - fromX, 0, 1 - width),
        clamp(top + y - fromY, 0, 1 - height),
        width,
        height,
      ]);
    } else {
      const [width, height] = [Math.abs(x - fromX), Math.abs(y - fromY)];
      // A click draws nothing.
      if (width < MIN_SIDE || height < MIN_SIDE) return;
      setCrop([Math.min(x, fromX), Math.min(y, fromY), width, height]);
    }
  });

  const end = (event) => {
    if (!drag) return;
    const { before } = drag;
    drag = null;
    stage.classList.remove("dragging");
    if (event.type === "pointercancel") setCrop(before);
    else if (String(crop) !== String(before)) finish();
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);

  // --- keys ---

  const resize = ([x, y, width, height], byWidth, byHeight) => {
    const wide = clamp(width + byWidth, MIN_SIDE, 1);
    const high = clamp(height + byHeight, MIN_SIDE, 1);
    return [
      clamp(x + (width - wide) / 2, 0, 1 - wide),
      clamp(y + (height - high) / 2, 0, 1 - high),
      wide,
      high,
    ];
  };
  const move = ([x, y, width, height], byX, byY) => [
    clamp(x + byX, 0, 1 - width),
    clamp(y + byY, 0, 1 - height),
    width,
    height,
  ];
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const cropAfterKey = (event) => {
    const now = crop ?? [0, 0, 1, 1];
    if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key].map((direction) => direction * STEP);
      // Arrow up makes the frame higher, arrow down lower.
      return event.shiftKey ? resize(now, x, -y) : move(now, x, y);
    }
    if (event.key === "-") return resize(now, -5 * STEP, -5 * STEP);
    if (event.key === "+" || event.key === "=") return resize(now, 5 * STEP, 5 * STEP);
    return undefined;
  };

  frame.addEventListener("keydown", (event) => {
    if (stage.classList.contains("fixed") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && crop) {
      setCrop(null);
      finish();
      return;
    }
    if (event.key === "Enter") {
      finish();
      return;
    }
    const next = cropAfterKey(event);
    if (next === undefined) return;
    event.preventDefault();
    const before = String(crop);
    setCrop(next);
    if (String(crop) === before) return;
    announce(describe(crop));
    clearTimeout(timer);
    timer = setTimeout(finish, KEY_DELAY);
  });

  return {
    /** Show a crop. */
    set(next) {
      clearTimeout(timer);
      crop = next;
      draw();
    },
  };
}

function describe(crop) {
  if (crop === null) return "The whole picture";
  const [x, y, width, height] = crop.map((value) => `${Math.round(value * 100)}%`);
  return `${width} wide, ${height} high, ${x} from the left, ${y} from the top`;
}
