"use strict";
(function () {
  const options = { modeBarButtons: [["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]], displaylogo: false };
  const narrow = 620;  // pixels of a heatmap, below which its names have no room

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    const given = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
    const layout = Object.assign({}, given.layout, {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: ink },
      hoverlabel: { align: "left", font: { size: 13 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "rgba(127,127,127,0.7)", activecolor: "rgba(127,127,127,1)" },
    });
    if (given.layout.yaxis.ticktext) {
      layout.yaxis = Object.assign({}, layout.yaxis, { showticklabels: plot.clientWidth >= narrow });
    }
    const fixed = given.layout.dragmode === false;  // nothing to zoom
    Plotly.newPlot(plot, given.data, layout, Object.assign({ displayModeBar: fixed ? false : "hover" }, options));
    new ResizeObserver(function () { Plotly.Plots.resize(plot); }).observe(plot);
    figure.addEventListener("click", function (event) {
      const button = event.target.closest("button[data-traces]");
      if (button === null) { return; }
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(shown));
      Plotly.restyle(plot, { visible: shown }, button.dataset.traces.split(",").map(Number));
    });
  }

  document.querySelectorAll("figure").forEach(draw);
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (part) { part.open = true; });
    document.querySelectorAll("figure .plot").forEach(function (plot) {  // paper is narrower: scale what was drawn
      const box = plot.querySelector(".svg-container");
      plot.style.setProperty("--ratio", box.clientWidth + " / " + box.clientHeight);
      box.querySelectorAll(".main-svg").forEach(function (svg) {
        svg.setAttribute("viewBox", "0 0 " + box.clientWidth + " " + box.clientHeight);
      });
    });
  });
})();
