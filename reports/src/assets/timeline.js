// The interactive timeline: its state, its controls, and what pointer, keyboard and address do to it.
//
// What a test reads: `data-timeline` on the body becomes "ready" (or "failed"), `data-errors` counts script errors,
// `data-operations` those of the history, `data-selected-operations` those that pass the filter, `data-drawn` the bars
// of the last frame.
"use strict";

(() => {
  const status = document.body.dataset;
  status.errors = "0";
  window.addEventListener("error", () => (status.errors = String(Number(status.errors) + 1)));

  const SEARCH_LIMIT = 2000;
  const OVERVIEW_HEIGHT = 52;
  const HELP =
    "Drag to pan. Ctrl + wheel zooms, and the wheel alone once you have clicked the timeline; + and − zoom, ← and → pan, 0 shows the whole run, v the violation. " +
    "[ and ] select the operation before and after in a lane, ↑ and ↓ another lane, e the next in evidence, n and p search hits, f zooms to the selected one, Esc leaves it.";

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [attribute, value] of Object.entries(attributes)) {
      if (attribute.startsWith("on")) made.addEventListener(attribute.slice(2), value);
      else if (typeof value === "boolean") made.toggleAttribute(attribute, value);
      else made.setAttribute(attribute, value);
    }
    made.append(...children);
    return made;
  }

  const shortened = (text, limit) => (text.length > limit ? `${text.slice(0, limit)}…` : text);

  class Timeline {
    constructor(data, host) {
      this.data = data;
      this.host = host;
      this.view = {
        from: 0,
        to: data.duration,
        scroll: 0,
        filter: { key: -1, hiddenFunctions: new Set(), hiddenOutcomes: new Set() },
        selection: null,
        violation: null,
        roles: new Map(),
        dim: true,
        found: [],
        selected: -1,
        hovered: -1,
      };
      this.foundAt = -1;
      this.shortest = data.measured ? 200 : 4;
      this.frame = 0;
      this.build();
      this.painter = new Labrys.Painter(this.canvas, data);
      this.overview = new Labrys.Overview(this.strip, data);
      this.listen();
      this.resize();
    }

    // ---- structure -------------------------------------------------------------------------------------------------

    build() {
      this.canvas = element("canvas", { tabindex: "0", role: "application", "aria-label": "Timeline of operations", "aria-describedby": "timeline-help" });
      this.spacer = element("div");
      this.scroller = element("div", { class: "scroller" }, element("div", { class: "sticky" }, this.canvas), this.spacer);
      this.strip = element("canvas", { class: "strip", role: "img", "aria-label": "Overview of the whole run; click or drag to move the timeline" });
      this.tooltip = element("div", { class: "tooltip", hidden: true });
      this.hint = element("p", { class: "hint", hidden: true }, "Click the timeline, or hold Ctrl, to zoom with the wheel.");
      this.live = element("p", { class: "unseen", "aria-live": "polite" });
      this.panel = element("div", { class: "panel" });
      this.state = element("p", { class: "soft range" });
      this.host.replaceChildren(
        this.toolbar(),
        this.legend(),
        element("div", { class: "stage" }, this.scroller, this.hint),
        this.strip,
        this.state,
        this.panel,
        element("details", { class: "help" }, element("summary", {}, "Pointer and keys"), element("p", { id: "timeline-help" }, HELP)),
        this.tooltip,
        this.live,
      );
      this.host.hidden = false;
    }

    toolbar() {
      const button = (label, title, action) => element("button", { type: "button", title, "aria-label": title, onclick: action }, label);
      const bar = element("div", { class: "toolbar", role: "toolbar", "aria-label": "Timeline" });
      bar.append(button("+", "Zoom in", () => this.zoom(0.5)), button("−", "Zoom out", () => this.zoom(2)), button("Whole run", "Show the whole run", () => this.whole()));
      if (this.data.violations.length > 0) bar.append(this.violationChooser(button));
      bar.append(this.keyChooser(), this.checkboxes("outcome", Labrys.OUTCOMES, this.view.filter.hiddenOutcomes));
      bar.append(this.checkboxes("function", this.data.functions, this.view.filter.hiddenFunctions), this.searchBox(button));
      return bar;
    }

    violationChooser(button) {
      const { violations } = this.data;
      if (violations.length === 1) return button("✗ Violation", "Show the violation", () => this.showViolation(violations[0]));
      this.violationSelect = element("select", { "aria-label": "Violation", onchange: (event) => this.showViolation(violations[Number(event.target.value)]) });
      this.violationSelect.append(element("option", { value: "-1", disabled: true }, `✗ ${violations.length} violations`));
      violations.forEach((violation, number) => this.violationSelect.append(element("option", { value: String(number) }, `✗ ${shortened(violation.title, 40)}`)));
      return this.violationSelect;
    }

    keyChooser() {
      const label = element("label", { hidden: this.data.keys.length === 0 }, "key ");
      this.keySelect = element("select", { onchange: (event) => this.chooseKey(Number(event.target.value)) });
      this.keySelect.append(element("option", { value: "-1" }, "all"));
      this.data.keys.forEach((key, number) => this.keySelect.append(element("option", { value: String(number) }, shortened(key, 40))));
      label.append(this.keySelect);
      return label;
    }

    checkboxes(name, values, hidden) {
      const group = element("fieldset", {}, element("legend", { class: "unseen" }, name));
      values.slice(0, 12).forEach((value, number) => {
        const box = element("input", { type: "checkbox", checked: true });
        box.addEventListener("change", () => {
          if (box.checked) hidden.delete(number);
          else hidden.add(number);
          this.refilter();
        });
        group.append(element("label", {}, box, ` ${shortened(value, 20)}`));
      });
      return group;
    }

    searchBox(button) {
      this.query = element("input", { type: "search", placeholder: "#index, value, error", "aria-label": "Search operations", size: "18" });
      this.matches = element("span", { class: "soft", "aria-live": "polite" });
      this.query.addEventListener("input", () => this.search());
      this.query.addEventListener("keydown", (event) => {
        if (event.key === "Enter") this.nextFound(event.shiftKey ? -1 : 1);
      });
      return element("span", { class: "search" }, this.query, button("↑", "Previous match", () => this.nextFound(-1)), button("↓", "Next match", () => this.nextFound(1)), this.matches);
    }

    legend() {
      const sample = (name, words) => element("span", { class: "sample" }, element("i", { class: name }), words);
      const legend = element("p", { class: "legend" }, sample("ok", "ok"), sample("fail", "fail: did not happen"), sample("info", "info: may happen at any time, or never"));
      if (this.data.violations.length > 0) {
        legend.append(sample("ok unplaceable", "its completion leaves no legal order"), sample("ok candidate", "could come next, refused"), element("span", { class: "sample" }, element("b", {}, "12"), "place in the longest legal order"));
      }
      return legend;
    }

    // ---- state -----------------------------------------------------------------------------------------------------

    refilter() {
      const { data, view } = this;
      view.selection = Labrys.select(data, view.filter);
      status.selectedOperations = String(view.selection.count);
      this.painter.arrange(view.selection.lanes);
      this.resize();
      if (view.selected >= 0 && !Labrys.passes(data, view.filter, view.selected)) this.choose(-1);
      this.search(false);
      this.draw();
    }

    chooseKey(key, moveToViolation = true) {
      const { data, view } = this;
      view.filter.key = key;
      this.keySelect.value = String(key);
      const violation = data.violations.find((candidate) => candidate.key === key) || (key < 0 ? data.violations[0] : null) || null;
      this.setViolation(violation);
      this.refilter();
      if (violation && key >= 0 && moveToViolation) this.showWindow(violation.window);
      else if (key >= 0 && moveToViolation) this.showWindow(this.extent());
    }

    setViolation(violation) {
      this.view.violation = violation;
      this.view.roles = Labrys.evidence(violation);
      this.evidence = [...this.view.roles].filter(([, { role }]) => role !== "step").map(([i]) => i);
      if (this.violationSelect) this.violationSelect.value = String(this.data.violations.indexOf(violation));
    }

    showViolation(violation) {
      this.view.filter.key = violation.key;
      this.keySelect.value = String(violation.key);
      this.setViolation(violation);
      this.refilter();
      this.showWindow(violation.window);
      if (violation.operation >= 0) this.reveal(violation.operation);
    }

    // From the first to the last of what passes the filter, with a little air.
    extent() {
      const { data, view } = this;
      let from = Infinity;
      let to = 0;
      for (const list of view.selection.all) {
        if (list.length === 0) continue;
        from = Math.min(from, data.start[list[0]]);
        const last = list[list.length - 1];
        to = Math.max(to, data.end[last] < Infinity ? data.end[last] : data.start[last]);
      }
      if (from > to) return [0, data.duration];
      const air = (to - from) * 0.02 + this.shortest;
      return [from - air, to + air];
    }

    whole() {
      this.showWindow([0, this.data.duration]);
    }

    showWindow([from, to]) {
      const { view, data } = this;
      const length = Math.min(Math.max(to - from, this.shortest), data.duration * 1.02);
      view.from = Math.max(-data.duration * 0.01, Math.min(from, data.duration * 1.01 - length));
      view.to = view.from + length;
      this.draw();
    }

    zoom(factor, centre = undefined) {
      const { view } = this;
      const middle = centre ?? (view.selected >= 0 && this.inSight(view.selected) ? this.data.start[view.selected] : (view.from + view.to) / 2);
      this.showWindow([middle - (middle - view.from) * factor, middle + (view.to - middle) * factor]);
    }

    pan(share) {
      const shift = (this.view.to - this.view.from) * share;
      this.showWindow([this.view.from + shift, this.view.to + shift]);
    }

    inSight(i) {
      return this.data.start[i] <= this.view.to && Math.min(this.data.end[i], this.data.duration) >= this.view.from;
    }

    // Selects an operation and brings it into sight, in time and in the lanes.
    choose(i, move = true) {
      this.view.selected = i;
      this.panel.replaceChildren();
      if (i >= 0) {
        if (move) this.reveal(i);
        this.panel.append(this.table(i));
        this.live.textContent = Labrys.details(this.data, i, this.view.roles).map((row) => row.join(" ")).join("; ");
      }
      this.draw();
    }

    reveal(i) {
      const { data, view, painter } = this;
      if (!this.inSight(i)) {
        const length = view.to - view.from;
        this.showWindow([data.start[i] - length / 3, data.start[i] + (length * 2) / 3]);
      }
      const room = painter.height - painter.layout.header;
      const top = painter.layout.rowOf[data.lane[i]] * painter.layout.lane;
      if (top < view.scroll || top + painter.layout.lane > view.scroll + room) this.scroller.scrollTop = Math.max(0, top - room / 2);
    }

    focusOn(i) {
      const end = Math.min(this.data.end[i], this.data.duration);
      const length = Math.max(end - this.data.start[i], this.shortest * 5);
      this.showWindow([this.data.start[i] - length, end + length]);
    }

    // Shows an operation whatever the filter was.
    goTo(index) {
      const { data, view } = this;
      const i = Labrys.byIndex(data, index);
      if (i < 0) return;
      const violation = data.violations.find((v) => v.operation === i || v.candidates.some(([o]) => o === i) || v.steps.some(([o]) => o === i));
      if (!Labrys.passes(data, view.filter, i) || (violation && violation !== view.violation)) {
        view.filter.hiddenFunctions.clear();
        view.filter.hiddenOutcomes.clear();
        for (const box of this.host.querySelectorAll("fieldset input")) box.checked = true;
        this.chooseKey(data.key[i], false);
      }
      const length = Math.min(data.end[i], data.duration) - data.start[i];
      const inWindow = violation && data.start[i] >= violation.window[0] && data.start[i] <= violation.window[1];
      if (inWindow) this.showWindow(violation.window);
      else if (view.to - view.from > 200 * Math.max(length, this.shortest)) this.focusOn(i);
      this.choose(i);
    }

    search(jump = true) {
      const { data, view } = this;
      view.found = this.query.value.trim() === "" ? [] : Labrys.search(data, view.selection, this.query.value, SEARCH_LIMIT);
      this.foundAt = -1;
      const number = view.found.length >= SEARCH_LIMIT ? `${SEARCH_LIMIT} or more` : String(view.found.length);
      this.matches.textContent = this.query.value.trim() === "" ? "" : ` ${number} found`;
      if (jump && view.found.length === 1) this.nextFound(1);
      this.draw();
    }

    nextFound(step) {
      const { found } = this.view;
      if (found.length === 0) return;
      this.foundAt = (this.foundAt + step + found.length) % found.length;
      this.matches.textContent = ` ${this.foundAt + 1} of ${found.length}`;
      if (Labrys.passes(this.data, this.view.filter, found[this.foundAt])) this.choose(found[this.foundAt]);
      else this.goTo(this.data.index[found[this.foundAt]]);
    }

    nextEvidence() {
      if (!this.evidence || this.evidence.length === 0) return;
      const at = this.evidence.indexOf(this.view.selected);
      this.choose(this.evidence[(at + 1) % this.evidence.length]);
    }

    // The operation before or after the selected one in its lane; without one, the first in sight.
    neighbour(step) {
      const { data, view } = this;
      if (view.selected < 0) {
        const first = view.selection.all.map((list) => list[Labrys.lowerBound(list, data.start, view.from)]).filter((i) => i !== undefined);
        if (first.length > 0) this.choose(first.reduce((a, b) => (data.start[b] < data.start[a] ? b : a)));
        return;
      }
      const list = view.selection.all[data.lane[view.selected]];
      const at = list.indexOf(view.selected) + step;
      if (at >= 0 && at < list.length) this.choose(list[at]);
    }

    otherLane(step) {
      const { data, view } = this;
      if (view.selected < 0) return this.neighbour(1);
      for (let lane = data.lane[view.selected] + step; lane >= 0 && lane < data.lanes.length; lane += step) {
        const list = view.selection.all[lane];
        if (list.length === 0) continue;
        const at = Math.min(list.length - 1, Labrys.lowerBound(list, data.start, data.start[view.selected]));
        return this.choose(list[at]);
      }
    }

    // ---- address ---------------------------------------------------------------------------------------------------

    // `#key=7`, `#op=123`, `#t=1000000-2000000` (nanoseconds), joined by `&`. True if it was for the timeline.
    follow(hash) {
      const parts = new Map();
      for (const part of hash.replace(/^#/, "").split("&")) {
        const at = part.indexOf("=");
        if (at > 0) parts.set(part.slice(0, at), part.slice(at + 1));
      }
      if (parts.has("key")) this.followKey(parts.get("key"));
      if (parts.has("t")) this.followTime(parts.get("t"));
      if (parts.has("op")) this.goTo(Number(parts.get("op")));
      return parts.has("key") || parts.has("t") || parts.has("op");
    }

    followKey(encoded) {
      let key;
      try {
        key = decodeURIComponent(encoded);
      } catch {
        return;
      }
      const { keys } = this.data;
      const found = keys.indexOf(key) >= 0 ? keys.indexOf(key) : keys.indexOf(JSON.stringify(key));
      if (found >= 0) this.chooseKey(found);
    }

    followTime(range) {
      const [from, to] = range.split("-").map(Number);
      if (!Number.isFinite(from)) return;
      if (Number.isFinite(to)) {
        const air = Math.max((to - from) * 0.1, this.shortest);
        return this.showWindow([from - air, to + air]);
      }
      const half = Math.min(this.view.to - this.view.from, this.data.duration / 20) / 2;
      this.showWindow([from - half, from + half]);
    }

    // ---- pointer and keyboard --------------------------------------------------------------------------------------

    listen() {
      const { canvas, scroller, strip } = this;
      canvas.addEventListener("pointerdown", (event) => this.grab(event));
      canvas.addEventListener("pointermove", (event) => this.hover(event));
      canvas.addEventListener("pointerleave", () => this.unhover());
      canvas.addEventListener("dblclick", (event) => this.zoom(0.4, this.painter.timeAt(this.view, this.position(event)[0])));
      canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      canvas.addEventListener("keydown", (event) => this.key(event));
      scroller.addEventListener("scroll", () => {
        this.view.scroll = scroller.scrollTop;
        this.draw();
      });
      strip.addEventListener("pointerdown", (event) => this.grabOverview(event));
      new ResizeObserver(() => this.resize()).observe(this.host);
      window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
        this.painter.restyle();
        this.overview.painter.restyle();
        this.draw();
      });
      const follow = () => {
        if (this.follow(location.hash)) this.host.parentElement.scrollIntoView({ block: "start" });
      };
      window.addEventListener("hashchange", follow);
      // A link to where the address already points changes no address, but is meant all the same.
      document.addEventListener("click", (event) => {
        const link = event.target.closest && event.target.closest('a[href^="#"]');
        if (link && link.getAttribute("href") === location.hash) follow();
      });
    }

    position(event) {
      const box = event.currentTarget ? this.canvas.getBoundingClientRect() : { left: 0, top: 0 };
      return [event.clientX - box.left, event.clientY - box.top];
    }

    wheel(event) {
      const horizontal = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (horizontal) {
        event.preventDefault();
        this.pan(((event.deltaX || event.deltaY) / this.painter.width) * 1.2);
      } else if (event.ctrlKey || event.metaKey || document.activeElement === this.canvas) {
        event.preventDefault();
        const pixels = event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
        this.zoom(Math.exp(Math.max(-200, Math.min(200, pixels)) * 0.003), this.painter.timeAt(this.view, this.position(event)[0]));
      } else {
        this.hint.hidden = false;
      }
    }

    // Pressing and moving pans; pressing and letting go selects.
    grab(event) {
      if (event.button !== 0) return;
      const { canvas, view } = this;
      const begin = { x: event.clientX, y: event.clientY, from: view.from, to: view.to, scroll: this.scroller.scrollTop };
      const perPixel = (view.to - view.from) / (this.painter.width - Labrys.GUTTER);
      let moved = false;
      canvas.setPointerCapture(event.pointerId);
      this.hint.hidden = true;
      const move = (next) => {
        const shift = next.clientX - begin.x;
        if (Math.abs(shift) + Math.abs(next.clientY - begin.y) > 4) moved = true;
        if (!moved) return;
        canvas.classList.add("grabbing");
        this.showWindow([begin.from - shift * perPixel, begin.to - shift * perPixel]);
        this.scroller.scrollTop = begin.scroll - (next.clientY - begin.y);
      };
      const end = (last) => {
        canvas.classList.remove("grabbing");
        canvas.removeEventListener("pointermove", move);
        canvas.removeEventListener("pointerup", end);
        canvas.removeEventListener("pointercancel", end);
        if (moved || last.type === "pointercancel") return;
        const box = canvas.getBoundingClientRect();
        const hit = this.painter.hit(view, last.clientX - box.left, last.clientY - box.top);
        if (hit && hit.fault) this.followTime(`${hit.fault.times[0]}-${hit.fault.times[3]}`);
        else this.choose(hit && hit.operation !== undefined ? hit.operation : -1, false);
      };
      canvas.addEventListener("pointermove", move);
      canvas.addEventListener("pointerup", end);
      canvas.addEventListener("pointercancel", end);
    }

    hover(event) {
      if (event.buttons !== 0) return this.unhover();
      const [x, y] = this.position(event);
      const hit = this.painter.hit(this.view, x, y);
      const operation = hit && hit.operation !== undefined ? hit.operation : -1;
      if (operation !== this.view.hovered) {
        this.view.hovered = operation;
        this.draw();
      }
      if (!hit) return this.unhover();
      this.canvas.style.cursor = "pointer";
      this.tooltip.replaceChildren(this.hitTable(hit));
      this.tooltip.hidden = false;
      const width = this.tooltip.offsetWidth;
      const height = this.tooltip.offsetHeight;
      const left = event.clientX + 16 + width > window.innerWidth ? event.clientX - 16 - width : event.clientX + 16;
      const top = event.clientY + 18 + height > window.innerHeight ? event.clientY - 12 - height : event.clientY + 18;
      this.tooltip.style.left = `${Math.max(4, left)}px`;
      this.tooltip.style.top = `${Math.max(4, top)}px`;
    }

    unhover() {
      this.canvas.style.cursor = "";
      this.tooltip.hidden = true;
      if (this.view.hovered >= 0) {
        this.view.hovered = -1;
        this.draw();
      }
    }

    hitTable(hit) {
      if (hit.operation !== undefined) return this.table(hit.operation);
      if (hit.leader) {
        const [time, node, term] = hit.leader;
        return rowsTable([["leader", node], ["term", term === null ? "unknown" : String(term)], ["seen", Labrys.time(time)]]);
      }
      const { fault } = hit;
      const rows = [["fault", `${this.data.kinds[fault.kind]} (${fault.id})`], ["what", fault.what]];
      if (fault.nodes) rows.push(["nodes", fault.nodes]);
      rows.push(["applied", Labrys.time(fault.times[0])], ["undone", fault.open ? "never" : Labrys.time(fault.times[3])]);
      rows.push(["lasted", Labrys.duration(fault.times[3] - fault.times[0])], ["did it bite?", fault.effect]);
      if (fault.evidence) rows.push(["seen by", fault.evidence]);
      if (fault.error) rows.push(["error", fault.error]);
      return rowsTable(rows);
    }

    table(i) {
      return rowsTable(Labrys.details(this.data, i, this.view.roles));
    }

    // Dragging the overview's window moves it; pressing elsewhere brings it there; its edges are dragged too.
    grabOverview(event) {
      const { strip, overview, view } = this;
      const box = strip.getBoundingClientRect();
      const timeOf = (pointer) => overview.timeAt(pointer.clientX - box.left);
      const x = event.clientX - box.left;
      const near = (time) => Math.abs(overview.x(time) - x) < 6;
      const edge = near(view.from) ? "from" : near(view.to) ? "to" : "";
      const length = view.to - view.from;
      const inside = timeOf(event) > view.from && timeOf(event) < view.to;
      const offset = inside ? timeOf(event) - view.from : length / 2;
      strip.setPointerCapture(event.pointerId);
      const move = (next) => {
        const time = timeOf(next);
        if (edge === "from") this.showWindow([Math.min(time, view.to - this.shortest), view.to]);
        else if (edge === "to") this.showWindow([view.from, Math.max(time, view.from + this.shortest)]);
        else this.showWindow([time - offset, time - offset + length]);
      };
      const end = () => {
        strip.removeEventListener("pointermove", move);
        strip.removeEventListener("pointerup", end);
        strip.removeEventListener("pointercancel", end);
      };
      if (edge === "") move(event);
      strip.addEventListener("pointermove", move);
      strip.addEventListener("pointerup", end);
      strip.addEventListener("pointercancel", end);
    }

    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const actions = {
        ArrowLeft: () => this.pan(-0.2),
        ArrowRight: () => this.pan(0.2),
        ArrowUp: () => this.otherLane(-1),
        ArrowDown: () => this.otherLane(1),
        "+": () => this.zoom(0.6),
        "=": () => this.zoom(0.6),
        "-": () => this.zoom(1 / 0.6),
        0: () => this.whole(),
        Home: () => this.whole(),
        "[": () => this.neighbour(-1),
        "]": () => this.neighbour(1),
        e: () => this.nextEvidence(),
        n: () => this.nextFound(1),
        p: () => this.nextFound(-1),
        v: () => this.view.violation && this.showViolation(this.view.violation),
        f: () => this.view.selected >= 0 && this.focusOn(this.view.selected),
        "/": () => this.query.focus(),
        Escape: () => this.choose(-1),
      };
      const action = actions[event.key];
      if (!action) return;
      event.preventDefault();
      action();
    }

    // ---- drawing ---------------------------------------------------------------------------------------------------

    resize() {
      const width = Math.max(320, this.host.clientWidth);
      const limit = Math.max(260, Math.round(window.innerHeight * 0.72));
      const height = Math.min(this.painter.layout.height, limit);
      if (this.painter.width === width && this.painter.height === height) return;
      this.spacer.style.height = `${this.painter.layout.height - height}px`;
      this.scroller.style.height = `${height}px`;
      this.painter.resize(width, height);
      this.overview.resize(width, OVERVIEW_HEIGHT);
      if (this.view.selection) this.paint();
    }

    draw() {
      if (this.frame === 0) this.frame = requestAnimationFrame(() => this.paint());
    }

    paint() {
      this.frame = 0;
      if (!this.view.selection) return;
      status.drawn = String(this.painter.draw(this.view));
      this.overview.draw(this.view);
      const { view, data } = this;
      const key = view.filter.key >= 0 ? `key ${shortened(data.keys[view.filter.key], 40)}, ` : "";
      const from = Math.max(0, view.from);
      const to = Math.min(data.duration, view.to);
      this.state.textContent = `${key}${view.selection.count.toLocaleString("en")} of ${data.count.toLocaleString("en")} operations; ${Labrys.time(from)} – ${Labrys.time(to)} (${Labrys.duration(to - from)})`;
    }
  }

  function rowsTable(rows) {
    const table = element("table");
    for (const [name, text] of rows) table.append(element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, text)));
    return table;
  }

  // Rows of the explanation light up in the timeline while the pointer is on them.
  function connectRows(timeline) {
    const rows = document.querySelectorAll("#explanation tr[data-operation]");
    for (const row of rows) {
      row.addEventListener("pointerenter", () => {
        timeline.view.hovered = Labrys.byIndex(timeline.data, Number(row.dataset.operation));
        timeline.draw();
      });
      row.addEventListener("pointerleave", () => timeline.unhover());
    }
  }

  function copyButton() {
    const button = document.getElementById("copy");
    if (!button || !navigator.clipboard) return;
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById("command").textContent);
      button.textContent = "Copied";
    });
  }

  function start() {
    const data = Labrys.decode(document.getElementById("timeline-data").textContent);
    status.operations = String(data.count);
    const timeline = new Timeline(data, document.getElementById("interactive"));
    const first = data.violations[0];
    timeline.refilter();
    if (first) timeline.showViolation(first);
    const followed = timeline.follow(location.hash);
    timeline.paint();
    document.documentElement.classList.add("interactive");
    connectRows(timeline);
    copyButton();
    status.timeline = "ready";
    if (followed) timeline.host.parentElement.scrollIntoView({ block: "start" });
  }

  try {
    start();
  } catch (error) {
    status.errors = String(Number(status.errors) + 1);
    status.timeline = "failed";
    document.getElementById("interactive").hidden = true;
    document.documentElement.classList.remove("interactive");
    console.error(error);
  }
})();
