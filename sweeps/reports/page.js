"use strict";
// Inflates plotly.js and the figures, which lie in the page compressed, and draws each when it is
// near the screen, in the page's light or dark look.

const NARROW = 560; // pixels: below it axes get fewer ticks and legends stand closer
const PRINTED = { full: 680, half: 330, third: 330 }; // pixels of a sheet of A4
const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const plots = [...document.querySelectorAll(".plot")];

async function inflate(key) {
  const packed = Uint8Array.from(atob(document.getElementById(`packed-${key}`).textContent), (c) =>
    c.charCodeAt(0),
  );
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function run(source) {
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
}

function fitted(layout, width) {
  if (width >= NARROW) return layout;
  const margin = { ...layout.margin, l: 44, r: 8 };
  return { ...layout, margin, font: { size: 11 }, legend: { ...layout.legend, font: { size: 10 } } };
}

function draw(plot, { templates, figures }) {
  if (plot.dataset.drawn) return;
  plot.dataset.drawn = "yes";
  const { data, layout } = figures[plot.id];
  const template = templates[dark.matches ? "dark" : "light"];
  Plotly.newPlot(plot, data, { ...fitted(layout, plot.clientWidth), template }, CONFIG);
  if (layout.meta?.lines) singleOut(plot);
}

// Where each line is a trial, the one that is pointed at stands out from the others.
function singleOut(plot) {
  const traces = () => [...plot.querySelectorAll(".scatterlayer .trace")];
  plot.on("plotly_hover", ({ points }) => {
    plot.classList.add("dimmed");
    traces().forEach((trace, i) => trace.classList.toggle("lit", i === points[0].curveNumber));
  });
  plot.on("plotly_unhover", () => plot.classList.remove("dimmed"));
}

function drawnPlots() {
  return plots.filter((plot) => plot.dataset.drawn);
}

function follow(report) {
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((entry) => entry.isIntersecting)) {
        near.unobserve(entry.target);
        draw(entry.target, report);
      }
    },
    { rootMargin: "800px" },
  );
  plots.forEach((plot) => near.observe(plot));
  dark.addEventListener("change", () => {
    const template = report.templates[dark.matches ? "dark" : "light"];
    drawnPlots().forEach((plot) => Plotly.relayout(plot, { template }));
  });
  addEventListener("beforeprint", () => {
    for (const plot of plots) {
      draw(plot, report);
      const span = plot.closest("figure").classList[0];
      Plotly.relayout(plot, { template: report.templates.light, width: PRINTED[span] });
    }
  });
  addEventListener("afterprint", () => {
    const template = report.templates[dark.matches ? "dark" : "light"];
    plots.forEach((plot) => Plotly.relayout(plot, { template, width: null, autosize: true }));
  });
}

function select(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      select(source);
      button.textContent = "Selected";
    }
  });
}

(async () => {
  if (!plots.length) return;
  try {
    run(await inflate("plotly"));
    follow(JSON.parse(await inflate("data")));
    document.body.dataset.ready = "yes";
  } catch (error) {
    document.getElementById("undrawn").hidden = false;
    document.body.classList.add("undrawable");
    console.error(error);
  }
})();
