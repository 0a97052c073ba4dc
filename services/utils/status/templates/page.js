"use strict";
(function () {
  var STALE_S = 3600;
  function byId(id) { return document.getElementById(id); }
  function tell(seconds) {
    var units = [[86400, "d"], [3600, "h"], [60, "min"]];
    for (var i = 0; i < units.length; i++) {
      if (seconds >= units[i][0]) { return Math.floor(seconds / units[i][0]) + " " + units[i][1]; }
    }
    return Math.floor(seconds) + " s";
  }
  // Ages count on while the page is open, and a page that nobody makes again says so.
  function count() {
    var now = Date.now();
    document.querySelectorAll("[data-at]").forEach(function (one) {
      var seconds = (now - Date.parse(one.dataset.at)) / 1000;
      one.textContent = seconds < 0 ? "in " + tell(-seconds) : seconds < 60 ? "just now" : tell(seconds) + " ago";
    });
    var age = (now - Date.parse(byId("made").dateTime)) / 1000, stale = byId("stale");
    stale.hidden = age < STALE_S && age > -300;
    var words = age < 0 ? "This page was made in the future: the clock here or there is wrong."
      : "This page is " + tell(age) + " old. It shows how things stood then, not how they stand now.";
    if (!stale.hidden && stale.textContent !== words) { stale.textContent = words; }
  }
  count();
  setInterval(count, 30000);

  var title = document.title;
  function turn() {
    var page = location.hash.length > 1 && byId(location.hash.slice(1));
    var shown = page && page.classList.contains("page") ? page : byId("overview");
    var head = shown.querySelector("h1");
    document.title = shown === page ? head.textContent.trim() + " - record-services" : title;
    if (location.hash) { head.focus({ preventScroll: true }); window.scrollTo(0, 0); }
  }
  window.addEventListener("hashchange", turn);
  turn();

  var table = byId("all");
  if (!table) { return; }
  var body = table.tBodies[0], rows = Array.prototype.slice.call(body.rows);
  function choose() {
    var wanted = byId("find").value.trim().toLowerCase(), tone = byId("tone").value, left = 0;
    rows.forEach(function (row) {
      row.hidden = (tone && row.dataset.tone !== tone) || row.dataset.text.indexOf(wanted) < 0;
      left += row.hidden ? 0 : 1;
    });
    byId("shown").textContent = left === rows.length ? "" : left + " of " + rows.length + " shown";
  }
  byId("tools").hidden = false;
  byId("tools").addEventListener("submit", function (event) { event.preventDefault(); });
  byId("find").addEventListener("input", choose);
  byId("tone").addEventListener("change", choose);
  // Browsers keep what was typed over a reload.
  choose();

  var keys = {
    tone: function (row) { return Number(row.dataset.place); },
    name: function (row) { return row.dataset.name; },
    done: function (row) { return row.dataset.done; },
    alive: function (row) { return Number(row.dataset.alive); },
    refused: function (row) { return Number(row.dataset.refused); }
  };
  table.querySelectorAll("th[data-sort]").forEach(function (head) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending", key = keys[head.dataset.sort];
      table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      rows.sort(function (a, b) { return (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0) * (up ? 1 : -1); });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
})();
