// The frame on the picture: drag to draw one, drag it to move it, its corners to change it; or by
// keys.
// A crop is [x, y, width, height] in fractions of the upright picture; null is the whole picture.

const LEAST = 0.04; // of a side
const STEP = 0.02;
const SETTLED = 600; // milliseconds after the last key

const within = (value, least, most) => Math.min(most, Math.max(least, value));
const rounded = (crop) => crop.map((value) => Math.round(value * 1000) / 1000);

/**
 * @param {HTMLElement} stage holds the picture and the frame
 * @param {HTMLElement} frame is focusable
 * @param {(crop: number[] | null) => void} onSettled is told of a crop that is meant
 * @param {(text: string) => void} say tells a screen reader
 */
export function makeCrop(stage, frame, onSettled, say) {
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

  const change = (next) => {
    const isWhole = next && next[2] > 0.995 && next[3] > 0.995;
    crop = next && !isWhole ? rounded(next) : null;
    draw();
  };

  const settle = () => {
    clearTimeout(timer);
    onSettled(crop);
  };

  // --- pointer ---

  const place = (event) => {
    const box = stage.getBoundingClientRect();
    return [
      within((event.clientX - box.left) / box.width, 0, 1),
      within((event.clientY - box.top) / box.height, 0, 1),
    ];
  };

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stage.classList.contains("fixed")) return;
    const grip = event.target.dataset.grip;
    const [x, y] = place(event);
    if (crop && grip) {
      // The corner across stays where it is.
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
    const [x, y] = place(event);
    const [fromX, fromY] = drag.from;
    if (drag.kind === "move") {
      const [left, top, width, height] = drag.crop;
      change([
        within(left + x - fromX, 0, 1 - width),
        within(top + y - fromY, 0, 1 - height),
        width,
        height,
      ]);
    } else {
      const [width, height] = [Math.abs(x - fromX), Math.abs(y - fromY)];
      // A mere click draws nothing.
      if (width < LEAST || height < LEAST) return;
      change([Math.min(x, fromX), Math.min(y, fromY), width, height]);
    }
  });

  const end = (event) => {
    if (!drag) return;
    const { before } = drag;
    drag = null;
    stage.classList.remove("dragging");
    if (event.type === "pointercancel") change(before);
    else if (String(crop) !== String(before)) settle();
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);

  // --- keys ---

  const resized = ([x, y, width, height], byWidth, byHeight) => {
    const wide = within(width + byWidth, LEAST, 1);
    const high = within(height + byHeight, LEAST, 1);
    return [
      within(x + (width - wide) / 2, 0, 1 - wide),
      within(y + (height - high) / 2, 0, 1 - high),
      wide,
      high,
    ];
  };
  const moved = ([x, y, width, height], byX, byY) => [
    within(x + byX, 0, 1 - width),
    within(y + byY, 0, 1 - height),
    width,
    height,
  ];
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  const byKey = (event) => {
    const now = crop ?? [0, 0, 1, 1];
    if (event.key in ARROWS) {
      const [x, y] = ARROWS[event.key].map((way) => way * STEP);
      // Up is higher, down is lower.
      return event.shiftKey ? resized(now, x, -y) : moved(now, x, y);
    }
    if (event.key === "-") return resized(now, -5 * STEP, -5 * STEP);
    if (event.key === "+" || event.key === "=") return resized(now, 5 * STEP, 5 * STEP);
    return undefined;
  };

  frame.addEventListener("keydown", (event) => {
    if (stage.classList.contains("fixed") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && crop) {
      change(null);
      settle();
      return;
    }
    if (event.key === "Enter") {
      settle();
      return;
    }
    const next = byKey(event);
    if (next === undefined) return;
    event.preventDefault();
    const before = String(crop);
    change(next);
    if (String(crop) === before) return;
    say(inWords(crop));
    clearTimeout(timer);
    timer = setTimeout(settle, SETTLED);
  });

  return {
    /** Show a crop that came from elsewhere. */
    set(next) {
      clearTimeout(timer);
      crop = next;
      draw();
    },
  };
}

function inWords(crop) {
  if (crop === null) return "The whole picture";
  const [x, y, width, height] = crop.map((value) => `${Math.round(value * 100)} %`);
  return `${width} wide, ${height} high, ${x} from the left, ${y} from the top`;
}
