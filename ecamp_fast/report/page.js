"use strict";
// Values under the pointer, and pictures that grow when touched. The page says everything without it.
for (const svg of document.querySelectorAll("svg[data-lines]")) {
  const lines = JSON.parse(svg.dataset.lines);
  const reading = document.createElement("div");
  const hair = document.createElementNS(svg.namespaceURI, "path");
  reading.className = "reading";
  reading.hidden = true;
  hair.setAttribute("class", "hair");
  const dots = lines.map((line) => {
    const dot = document.createElementNS(svg.namespaceURI, "circle");
    dot.setAttribute("class", "dot now " + line.kind);
    dot.setAttribute("r", "4");
    return dot;
  });
  svg.parentNode.append(reading);
  const hide = () => { reading.hidden = true; hair.remove(); dots.forEach((dot) => dot.remove()); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    const near = lines.map((line) => line.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a)));
    const place = near.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a))[0];
    reading.textContent = "";
    hair.setAttribute("d", `M${place} 14V184`);
    svg.append(hair);
    const here = lines.map((line, i) => [line, near[i], dots[i]]).filter(([, point]) => Math.abs(point[0] - place) < 0.75);
    dots.forEach((dot) => dot.remove());
    reading.append(`${svg.dataset.x}: ${here[0][1][2]}`);
    for (const [line, point, dot] of here) {
      dot.setAttribute("cx", point[0]);
      dot.setAttribute("cy", point[1]);
      svg.append(dot);
      reading.append(document.createElement("br"), `${line.label}: ${point[3]}`);
    }
    reading.hidden = false;
    const left = (place / svg.viewBox.baseVal.width) * box.width + box.left - svg.parentNode.getBoundingClientRect().left;
    const room = svg.parentNode.clientWidth - reading.offsetWidth - 8;
    reading.style.left = `${Math.max(8, Math.min(left + 12, room))}px`;
    reading.style.top = `${svg.parentNode.clientHeight - svg.clientHeight}px`;
  });
  svg.addEventListener("pointerleave", hide);
}
for (const picture of document.querySelectorAll(".strip img")) {
  picture.addEventListener("click", () => picture.closest("figure").classList.toggle("large"));
}
