"use strict";
const box = document.getElementById("search");
const parts = [...document.querySelectorAll("main section")];
const items = [...document.querySelectorAll("main details")].map((node) => [node, node.textContent.toLowerCase()]);
box.closest("form").hidden = false;
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const [node, text] of items) node.hidden = !words.every((word) => text.includes(word));
  for (const part of parts) part.hidden = ![...part.querySelectorAll("details")].some((node) => !node.hidden);
});
const open = () => {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (found && found.tagName === "DETAILS") { found.open = true; found.scrollIntoView(); }
};
addEventListener("hashchange", open);
addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== box) { event.preventDefault(); box.focus(); }
});
open();
