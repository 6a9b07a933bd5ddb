/** Builds elements. Text is always text: nothing here reads HTML. */

/**
 * @param {string} tag
 * @param {Object} [settings] properties; `class` and `aria-...` as attributes,
 *   functions as listeners of the event that they are named after.
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function element(tag, settings = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (name === "class") made.className = value;
    else if (name.includes("-")) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/**
 * A small button that shows a sign and says what it does.
 * @param {string} sign
 * @param {string} label
 * @param {function(): void} click
 */
export function signButton(sign, label, click) {
  return element(
    "button",
    { type: "button", class: "small", "aria-label": label, title: label, click },
    element("span", { "aria-hidden": "true" }, sign),
  );
}

/** A number of things, in words: "1 item", "2 items". */
export function counted(number, thing) {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}
