// Each figure stands as JSON behind its place, which it fills from side to side. Without being told not to, plotly.js
// offers a button that sends the figure to its makers' server.
const packed = Uint8Array.from(atob(PLOTLY), (sign) => sign.charCodeAt(0));
const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const library = document.createElement("script");
library.textContent = await new Response(unpacked).text();
document.head.append(library);
const dark = matchMedia("(prefers-color-scheme: dark)"), narrow = matchMedia("(max-width: 40rem)");
const places = [...document.querySelectorAll(".figure")];
const figures = places.map((place) => JSON.parse(place.nextElementSibling.textContent));
function draw() {
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name);
  const axis = { gridcolor: colour("--line"), linecolor: colour("--soft"), zeroline: false, ticks: "", title: { standoff: 8 } };
  const layout = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis,
    font: { color: colour("--text"), size: 13, family: "system-ui, -apple-system, 'Segoe UI', sans-serif" },
    modebar: { color: colour("--soft"), activecolor: colour("--text"), bgcolor: "rgba(0,0,0,0)" },
    annotationdefaults: { bgcolor: colour("--page") },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--text") } },
  };
  places.forEach((place, number) => {
    const { data, layout: own } = figures[number];
    const shown = { ...own, template: { layout }, height: narrow.matches ? 360 : own.height };
    if (narrow.matches) shown.margin = { ...own.margin, l: 45, r: 5 };
    Plotly.react(place, data, shown, { responsive: true, showSendToCloud: false, displaylogo: false, displayModeBar: !narrow.matches });
  });
}
draw();
for (const query of [dark, narrow]) query.addEventListener("change", draw);
