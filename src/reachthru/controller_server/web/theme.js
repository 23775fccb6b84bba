// Before anything is drawn: the colours that the reader chose here, else those of the system.
"use strict";
(() => {
  const KEY = "reachthru.theme";
  const root = document.documentElement;
  const use = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };
  const read = () => {
    try {
      return localStorage.getItem(KEY) || "auto";
    } catch {
      return "auto"; // storage is forbidden: it lasts as long as the page
    }
  };
  use(read());
  document.addEventListener("DOMContentLoaded", () => {
    const choice = document.getElementById("theme");
    choice.value = read();
    choice.addEventListener("change", () => {
      use(choice.value);
      try {
        localStorage.setItem(KEY, choice.value);
      } catch {
        // as above
      }
    });
  });
})();
