"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const sections = [...document.querySelectorAll("section.name")];
  const rows = [...document.querySelectorAll("#section-names tbody tr")];
  const apply = () => {
    const words = byId("filter-text").value.trim().toLowerCase();
    const verdict = byId("filter-verdict").value;
    let shown = 0;
    sections.forEach((section, index) => {
      const { name, verdict: own } = section.dataset;
      const keep = name.toLowerCase().includes(words) && (!verdict || own === verdict);
      section.hidden = rows[index].hidden = !keep;
      shown += keep ? 1 : 0;
    });
    byId("filter-count").textContent = `${shown} of ${sections.length}`;
  };
  byId("filter-text").addEventListener("input", apply);
  byId("filter-verdict").addEventListener("change", apply);
  byId("filter").hidden = false;
  apply();
})();
