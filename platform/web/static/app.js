// Copyright (c) The RightImage Authors
// SPDX-License-Identifier: MPL-2.0

// What htmx does not do by itself. Every page works without this file.
(() => {
  "use strict";

  // A log that is read at its end stays there while text comes in.
  const atEnd = (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  let follow = true;
  const log = document.getElementById("log");
  if (log) {
    log.scrollTop = log.scrollHeight;
    document.body.addEventListener("htmx:beforeSwap", () => { follow = atEnd(log); });
    document.body.addEventListener("htmx:oobAfterSwap", () => { if (follow) log.scrollTop = log.scrollHeight; });
  }

  // Boxes that were ticked stay so when the list around them is replaced.
  let ticked = new Set();
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    ticked = new Set([...event.target.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.id));
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    for (const id of ticked) {
      const box = document.getElementById(id);
      if (box && event.target.contains(box)) box.checked = true;
    }
  });

  // A platform that does not answer is said once, and taken back.
  const offline = document.getElementById("offline");
  document.body.addEventListener("htmx:sendError", () => { offline.hidden = false; });
  document.body.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) offline.hidden = true; });

  // A choice that decides what the rest of a form asks for.
  for (const select of document.querySelectorAll("select[data-asks]")) {
    select.addEventListener("change", () => { if (select.value) select.form.requestSubmit(select.form.querySelector("button[name=" + select.dataset.asks + "]")); });
  }
})();
