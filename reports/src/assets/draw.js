// Drawing the timeline on its canvas. Pure in the sense that it changes nothing but pixels; what to draw is in the `view`
// that it is given.
//
// Cost of a frame: for every lane, the operations in sight, but never more than two per pixel. Where operations are
// narrower than a pixel, the next one to be drawn is found by binary search.
"use strict";

(() => {
  const GUTTER = 92;
  const AXIS = 24;
  const HEADER_ROW = 20;
  const FONT = '12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const SMALL_FONT = FONT.replace("12px", "10px");

  // The colours of the style sheet, so that there is one place for them.
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ["paper", "ink", "soft", "grid", "band", "ok", "ok-edge", "fail", "fail-edge", "info", "info-edge", "bad", "candidate", "select"];
    const result = Object.fromEntries(names.map((name) => [name, of(name)]));
    result.faults = [0, 1, 2, 3, 4].map((number) => of(`fault-${number}`));
    return result;
  }

  // Which row each fault has: a row per kind, more where faults of a kind overlap. And the leaders' row, if there are any.
  function headerRows(data) {
    const rows = [];
    if (data.leaders.length > 0) rows.push({ name: "leader", leaders: true });
    data.kinds.forEach((name, kind) => {
      const ofKind = [];
      for (const fault of data.faults) {
        if (fault.kind !== kind) continue;
        let row = ofKind.find((candidate) => candidate.until < fault.times[0]);
        if (!row) {
          if (ofKind.length >= 4) continue;
          row = { name, kind, faults: [], until: 0 };
          ofKind.push(row);
        }
        row.faults.push(fault);
        row.until = fault.times[3];
      }
      rows.push(...ofKind);
    });
    return rows;
  }

  function laneHeight(lanes) {
    return lanes <= 12 ? 36 : lanes <= 20 ? 28 : lanes <= 60 ? 18 : 12;
  }

  // Heights in pixels, and the row of each lane that is shown (-1 for the others).
  function layout(data, lanes) {
    const rows = headerRows(data);
    const header = AXIS + rows.length * HEADER_ROW + 6;
    const lane = laneHeight(lanes.length);
    const rowOf = new Int32Array(data.lanes.length).fill(-1);
    lanes.forEach((number, row) => (rowOf[number] = row));
    return { rows, header, lane, lanes, rowOf, height: header + Math.max(1, lanes.length) * lane + 6 };
  }

  class Painter {
    constructor(canvas, data) {
      this.canvas = canvas;
      this.context = canvas.getContext("2d");
      this.data = data;
      this.arrange(data.lanes.map((_, lane) => lane));
      this.widths = new Map();
      this.run = null;
      this.taken = new Map();
      this.restyle();
    }

    // Says which lanes are shown.
    arrange(lanes) {
      this.layout = layout(this.data, lanes);
    }

    restyle() {
      this.colours = colours();
      this.hatch = this.makeHatch();
    }

    makeHatch() {
      const tile = document.createElement("canvas");
      tile.width = tile.height = 6;
      const context = tile.getContext("2d");
      context.fillStyle = this.colours.fail;
      context.fillRect(0, 0, 6, 6);
      context.strokeStyle = this.colours["fail-edge"];
      context.lineWidth = 1.6;
      context.beginPath();
      for (const offset of [-6, 0, 6]) {
        context.moveTo(offset, 6);
        context.lineTo(offset + 6, 0);
      }
      context.stroke();
      return this.context.createPattern(tile, "repeat");
    }

    resize(width, height) {
      const ratio = window.devicePixelRatio || 1;
      this.width = width;
      this.height = height;
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
      this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    }

    x(view, time) {
      return GUTTER + ((time - view.from) / (view.to - view.from)) * (this.width - GUTTER);
    }

    timeAt(view, x) {
      return view.from + ((x - GUTTER) / (this.width - GUTTER)) * (view.to - view.from);
    }

    laneTop(view, lane) {
      return this.layout.header + this.layout.rowOf[lane] * this.layout.lane - view.scroll;
    }

    // What lies under a point: an operation, a fault, a leader, or nothing. Bars a pixel wide may be hit 4 pixels off.
    hit(view, x, y) {
      const { header, lane, rows } = this.layout;
      if (x < GUTTER) return null;
      const time = this.timeAt(view, x);
      const slack = (4 / (this.width - GUTTER)) * (view.to - view.from);
      if (y < header) {
        const row = rows[Math.floor((y - AXIS) / HEADER_ROW)];
        if (!row || y < AXIS) return null;
        if (row.leaders) {
          const seen = this.data.leaders.filter(([at]) => at <= time + slack).pop();
          return seen ? { leader: seen } : null;
        }
        const fault = row.faults.find((f) => f.times[0] <= time + slack && f.times[3] >= time - slack);
        return fault ? { fault } : null;
      }
      const number = Math.floor((y - header + view.scroll) / lane);
      const operation = this.nearest(view, this.layout.lanes[number], time, slack);
      return operation < 0 ? null : { operation };
    }

    nearest(view, lane, time, slack) {
      const list = view.selection.all[lane];
      if (!list) return -1;
      const { start, end, outcome } = this.data;
      const after = Labrys.lowerBound(list, start, time + slack);
      for (let at = after - 1; at >= 0 && at >= after - 40; at--) {
        const i = list[at];
        // The tail of an open operation belongs to it until another one starts.
        if (end[i] + slack >= time || (outcome[i] === 2 && at === after - 1)) return i;
      }
      return -1;
    }

    draw(view) {
      const { context, colours, width, height } = this;
      this.drawn = 0;
      context.font = FONT;
      context.textBaseline = "middle";
      context.fillStyle = colours.paper;
      context.fillRect(0, 0, width, height);
      this.bands(view);
      this.clip(GUTTER, 0, width - GUTTER, height, () => this.shades(view));
      this.axis(view);
      this.clip(0, this.layout.header, width, height - this.layout.header, () => this.lanes(view));
      this.headers(view);
      this.clip(GUTTER, 0, width - GUTTER, height, () => this.marks(view));
      return this.drawn;
    }

    clip(x, y, width, height, body) {
      this.context.save();
      this.context.beginPath();
      this.context.rect(x, y, width, height);
      this.context.clip();
      body();
      this.context.restore();
    }

    // Every other lane on a slightly different ground, and the lanes' names.
    bands(view) {
      const { context, colours, data, layout: plan } = this;
      this.clip(0, plan.header, this.width, this.height, () => {
        for (const lane of this.visibleLanes(view)) {
          const y = this.laneTop(view, lane);
          if (plan.rowOf[lane] % 2 === 0) {
            context.fillStyle = colours.band;
            context.fillRect(0, y, this.width, plan.lane);
          }
          if (plan.lane >= 12) this.text(data.lanes[lane], GUTTER - 8, y + plan.lane / 2, colours.soft, "right", plan.lane < 18 ? SMALL_FONT : FONT, GUTTER - 12);
        }
      });
    }

    *visibleLanes(view) {
      const { header, lane } = this.layout;
      const first = Math.max(0, Math.floor(view.scroll / lane));
      const last = Math.min(this.layout.lanes.length - 1, Math.floor((view.scroll + this.height - header) / lane));
      for (let row = first; row <= last; row++) yield this.layout.lanes[row];
    }

    text(words, x, y, colour, align = "left", font = FONT, limit = undefined) {
      const { context } = this;
      context.font = font;
      context.fillStyle = colour;
      context.textAlign = align;
      context.fillText(words, x, y, limit);
    }

    axis(view) {
      const { context, colours } = this;
      const length = view.to - view.from;
      const step = roundStep(length, (this.width - GUTTER) / 110);
      const digits = Math.max(0, Math.min(9, 9 - Math.floor(Math.log10(step))));
      for (let tick = Math.ceil(view.from / step) * step; tick <= view.to; tick += step) {
        const x = this.x(view, tick);
        context.fillStyle = colours.grid;
        context.fillRect(Math.round(x), AXIS - 4, 1, this.height);
        const half = 34;
        if (x > GUTTER + half && x < this.width - half) this.text(this.data.measured ? `${(tick / 1e9).toFixed(digits)} s` : String(tick), x, AXIS / 2, colours.soft, "center");
      }
      this.text("process", GUTTER - 8, AXIS / 2, colours.soft, "right");
    }

    // Faults as a light ground behind the lanes.
    shades(view) {
      const { context, colours } = this;
      context.globalAlpha = 0.1;
      for (const fault of this.data.faults) {
        const [x, width] = this.span(view, fault.times[0], fault.times[3]);
        if (width <= 0) continue;
        context.fillStyle = colours.faults[fault.kind % 5];
        context.fillRect(x, AXIS, width, this.height);
      }
      context.globalAlpha = 1;
    }

    // The part of an interval that is in sight, in pixels; width 0 if none is.
    span(view, from, to) {
      if (to < view.from || from > view.to) return [0, 0];
      const left = Math.max(GUTTER - 4, this.x(view, from));
      const right = Math.min(this.width + 4, this.x(view, Math.min(to, view.to * 2)));
      return [left, Math.max(1.5, right - left)];
    }

    headers(view) {
      const { context, colours, width } = this;
      this.layout.rows.forEach((row, number) => {
        const y = AXIS + number * HEADER_ROW;
        this.text(row.name, GUTTER - 8, y + HEADER_ROW / 2, colours.soft, "right", FONT, GUTTER - 12);
        this.clip(GUTTER, y, width - GUTTER, HEADER_ROW, () => {
          if (row.leaders) this.leaders(view, y);
          else for (const fault of row.faults) this.fault(view, fault, y);
        });
      });
      context.fillStyle = colours.soft;
      context.fillRect(0, this.layout.header - 3, width, 1);
    }

    fault(view, fault, y) {
      const { context, colours } = this;
      const [x, width] = this.span(view, fault.times[0], fault.times[3]);
      if (width <= 0) return;
      const colour = colours.faults[fault.kind % 5];
      const missed = fault.effect === "did not bite";
      context.fillStyle = colour;
      context.globalAlpha = missed ? 0.25 : 0.45;
      context.fillRect(x, y + 2, width, HEADER_ROW - 4);
      const [forceX, forceWidth] = this.span(view, fault.times[1], fault.times[2]);
      if (!missed && forceWidth > 0) {
        context.globalAlpha = 1;
        context.fillRect(forceX, y + 2, forceWidth, HEADER_ROW - 4);
      }
      context.globalAlpha = 1;
      if (missed) {
        context.strokeStyle = colour;
        context.setLineDash([3, 3]);
        context.strokeRect(x + 0.5, y + 2.5, width - 1, HEADER_ROW - 5);
        context.setLineDash([]);
      }
      const words = missed ? `${fault.what} (did not bite)` : fault.what;
      const left = Math.max(x, GUTTER) + 5;
      this.text(this.fitted(words, x + width - left - 4), left, y + HEADER_ROW / 2 + 0.5, missed ? colours.ink : "#fff");
    }

    // As much of the words as has room, or nothing where that would say nothing.
    fitted(words, room) {
      if (this.textWidth(words) <= room) return words;
      const letters = Math.floor((room / this.textWidth(words)) * words.length) - 1;
      return letters < 4 ? "" : `${words.slice(0, letters)}…`;
    }

    leaders(view, y) {
      const { context, colours, data } = this;
      let lastRight = -Infinity;
      data.leaders.forEach(([time, node, term], number) => {
        const next = number + 1 < data.leaders.length ? data.leaders[number + 1][0] : data.duration;
        if (next < view.from || time > view.to) return;
        const x = this.x(view, time);
        const left = Math.max(x, GUTTER);
        context.fillStyle = colours.ink;
        context.fillRect(Math.round(x), y + 2, 2, HEADER_ROW - 4);
        const words = term === null ? node : `${node} · term ${term}`;
        if (left + 6 > lastRight) {
          this.text(words, left + 6, y + HEADER_ROW / 2, colours.ink);
          lastRight = left + 12 + this.textWidth(words);
        }
      });
    }

    textWidth(words) {
      let width = this.widths.get(words);
      if (width === undefined) {
        this.context.font = FONT;
        width = this.context.measureText(words).width;
        if (this.widths.size > 20000) this.widths.clear();
        this.widths.set(words, width);
      }
      return width;
    }

    lanes(view) {
      for (const lane of this.visibleLanes(view)) {
        const top = this.laneTop(view, lane);
        this.clip(GUTTER, top, this.width - GUTTER, this.layout.lane, () => {
          this.lane(view, view.selection.all[lane], top, false);
          this.lane(view, view.selection.rare[lane], top, true);
        });
      }
      this.clip(GUTTER, this.layout.header, this.width - GUTTER, this.height, () => this.highlights(view));
    }

    // One pass over a lane. The bars of the second pass, of what did not end ok, were drawn by the first where they are
    // wide; where they are narrow the first may have skipped them.
    lane(view, list, top, onlyNarrow) {
      const { start, end } = this.data;
      const perPixel = (view.to - view.from) / (this.width - GUTTER);
      let at = Labrys.lowerBound(list, start, view.from);
      at = Math.max(0, at - 1);
      while (at < list.length) {
        const i = list[at];
        if (start[i] > view.to) break;
        const next = at + 1 < list.length ? start[list[at + 1]] : Infinity;
        const width = (end[i] - start[i]) / perPixel;
        if (width >= 2 && onlyNarrow) {
          at++;
        } else if (width >= 2 || next - start[i] >= perPixel) {
          this.bar(view, i, top, next);
          at++;
        } else {
          this.bar(view, i, top, next);
          const after = Labrys.lowerBound(list, start, start[i] + perPixel, at + 1);
          // Operations of a lane follow each other: of those skipped only the last can be wide.
          const last = list[after - 1];
          at = after - 1 > at && (end[last] - start[last]) / perPixel >= 2 ? after - 1 : after;
        }
      }
      this.flushSlivers();
    }

    bar(view, i, top, next) {
      const { data, context } = this;
      const outcome = data.outcome[i];
      const y = top + this.barTop();
      const height = this.barHeight();
      const x = this.x(view, data.start[i]);
      const until = outcome === 2 ? this.tailEnd(view, i, next) : this.x(view, data.end[i]);
      const left = Math.max(x, GUTTER - 6);
      const width = Math.max(1, Math.min(until, this.width + 6) - left);
      if (left + width < GUTTER) return;
      this.drawn++;
      const dim = view.roles.size > 0 && view.dim && !view.roles.has(i);
      if (width < 3) {
        this.sliver(outcome, dim, Math.floor(left), Math.ceil(width), y, height);
        return;
      }
      this.flushSlivers();
      context.globalAlpha = dim ? 0.55 : 1;
      this.wideBar(outcome, left, y, width, height, this.x(view, data.end[i]));
      this.label(data.strings[data.label[i]], left, y, width, height);
      context.globalAlpha = 1;
    }

    // A bar too narrow for a pattern: full, lower half or upper half of the lane say ok, fail or info. Those that touch
    // and look the same become one rectangle, or a frame would be tens of thousands of them.
    sliver(outcome, dim, left, width, y, height) {
      const run = this.run;
      if (run && run.outcome === outcome && run.dim === dim && run.y === y && left <= run.right && left >= run.left) {
        run.right = Math.max(run.right, left + width);
        return;
      }
      this.flushSlivers();
      this.run = { outcome, dim, left, right: left + width, y, height };
    }

    flushSlivers() {
      const { run, context, colours } = this;
      if (!run) return;
      this.run = null;
      const half = Math.ceil(run.height / 2);
      context.globalAlpha = run.dim ? 0.55 : 1;
      context.fillStyle = [colours["ok-edge"], colours["fail-edge"], colours["info-edge"]][run.outcome];
      context.fillRect(run.left, run.outcome === 1 ? run.y + half : run.y, run.right - run.left, run.outcome === 0 ? run.height : half);
      context.globalAlpha = 1;
    }

    // The bar within its lane: where there is room, numbers stand above it.
    barTop() {
      const { lane } = this.layout;
      return lane >= 36 ? 12 : lane >= 28 ? 10 : lane >= 18 ? 2 : 1;
    }

    barHeight() {
      return this.layout.lane - this.barTop() - (this.layout.lane >= 28 ? 4 : 2);
    }

    // An open operation fades to the right until the next of its lane begins.
    tailEnd(view, i, next) {
      const end = this.x(view, Math.min(this.data.end[i], this.data.duration));
      const limit = next === Infinity ? this.width + 6 : this.x(view, next) - 2;
      return Math.max(Math.min(limit, Math.max(end, this.x(view, this.data.start[i]) + 60) + 160), Math.min(end, limit));
    }

    wideBar(outcome, left, y, width, height, givenUp) {
      const { context, colours } = this;
      if (outcome === 2) {
        const fade = context.createLinearGradient(left, 0, left + width, 0);
        const solid = Math.max(0, Math.min(0.75, (givenUp - left) / width));
        fade.addColorStop(0, colours.info);
        fade.addColorStop(solid, colours.info);
        fade.addColorStop(1, transparent(colours.info));
        context.fillStyle = fade;
        context.fillRect(left, y, width, height);
        context.strokeStyle = colours["info-edge"];
        context.setLineDash([1, 3]);
        context.beginPath();
        context.moveTo(left + width, y + 0.5);
        context.lineTo(left + 0.5, y + 0.5);
        context.lineTo(left + 0.5, y + height - 0.5);
        context.lineTo(left + width, y + height - 0.5);
        context.stroke();
        context.setLineDash([]);
        if (givenUp > left && givenUp < left + width - 1) {
          context.fillStyle = colours["info-edge"];
          context.fillRect(givenUp, y, 1, height);
        }
        return;
      }
      context.beginPath();
      context.roundRect(left + 0.5, y + 0.5, width - 1, height - 1, Math.min(3, width / 3));
      context.fillStyle = outcome === 1 ? this.hatch : colours.ok;
      context.fill();
      context.strokeStyle = colours[outcome === 1 ? "fail-edge" : "ok-edge"];
      context.lineWidth = 1;
      context.stroke();
    }

    label(words, left, y, width, height) {
      if (height < 12 || width < 14) return;
      const inside = Math.max(left, GUTTER);
      const font = height < 14 ? SMALL_FONT : FONT;
      if (this.textWidth(words) + 9 > left + width - inside) return;
      const { context, colours } = this;
      context.font = font;
      context.lineJoin = "round";
      context.strokeStyle = colours.paper;
      context.lineWidth = 2.5;
      const alpha = context.globalAlpha;
      context.globalAlpha = alpha * 0.55;
      context.textAlign = "left";
      context.strokeText(words, inside + 5, y + height / 2 + 0.5);
      context.globalAlpha = Math.min(1, alpha * 1.3);
      this.text(words, inside + 5, y + height / 2 + 0.5, colours.ink, "left", font);
      context.globalAlpha = alpha;
      context.lineWidth = 1;
    }

    // The operations in evidence, those that a search found, and the selected one: over everything else.
    highlights(view) {
      const { colours } = this;
      this.tails(view);
      for (const [i, { role, order }] of view.roles) {
        if (role === "step") this.badge(view, i, String(order), colours.soft);
      }
      for (const i of view.found) this.frame(view, i, colours.select, 1.5, [2, 2]);
      for (const [i, { role }] of view.roles) {
        if (role === "candidate") {
          this.frame(view, i, colours.candidate, 2, [5, 3]);
          // Of those that began before the window, `tails` has said the name.
          if (this.data.start[i] >= view.from || this.data.outcome[i] !== 2) this.badge(view, i, `#${this.data.index[i]}`, colours.candidate);
        }
      }
      for (const [i, { role }] of view.roles) {
        if (role === "unplaceable") {
          this.frame(view, i, colours.bad, 3, []);
          this.badge(view, i, `✗ #${this.data.index[i]}`, colours.bad, true);
        }
      }
      for (const broken of this.data.broken) {
        for (const i of broken.operations) this.frame(view, i, colours.bad, 2, []);
      }
      if (view.selected >= 0) this.frame(view, view.selected, colours.select, 3, []);
    }

    // An operation in evidence whose outcome nobody knows may take effect long after its client gave up: a dashed line at
    // the foot of its lane from there to the end of the prefix, named at the left edge if it began before.
    tails(view) {
      const { data, context, colours } = this;
      const names = new Map();
      this.taken = new Map();
      for (const [i, { role }] of view.roles) {
        if (data.outcome[i] !== 2 || role === "step" || !Labrys.passes(data, view.filter, i)) continue;
        const lane = data.lane[i];
        const above = names.get(lane) || [];
        const [x, width] = this.span(view, Math.min(data.end[i], data.duration), view.violation.end);
        if (data.start[i] < view.from && view.violation.end > view.from) names.set(lane, [...above, `#${data.index[i]}`]);
        if (width <= 2 || above.length > 2) continue;
        const y = this.laneTop(view, lane) + this.layout.lane - 1.5 - above.length * 3;
        context.strokeStyle = colours.candidate;
        context.setLineDash([5, 3]);
        context.beginPath();
        context.moveTo(Math.max(x, GUTTER), y);
        context.lineTo(x + width, y);
        context.stroke();
        context.setLineDash([]);
      }
      if (this.layout.lane < 28) return;
      for (const [lane, numbers] of names) {
        const words = `◂ ${numbers.join(" ")}`;
        this.taken.set(lane, GUTTER + 3 + this.textWidth(words));
        this.text(words, GUTTER + 3, this.laneTop(view, lane) + 6, colours.candidate, "left", SMALL_FONT);
      }
    }

    // A frame around an operation that passes the filter and is in sight.
    frame(view, i, colour, thickness, dash) {
      const { data, context } = this;
      if (!Labrys.passes(data, view.filter, i)) return;
      const until = data.outcome[i] === 2 ? Math.min(data.end[i], data.duration) : data.end[i];
      const [x, width] = this.span(view, data.start[i], until);
      if (width <= 0) return;
      const top = this.laneTop(view, data.lane[i]) + this.barTop();
      const height = this.barHeight();
      context.strokeStyle = colour;
      context.lineWidth = thickness;
      context.setLineDash(dash);
      context.strokeRect(x, top, Math.max(3, width), height);
      context.setLineDash([]);
      context.lineWidth = 1;
    }

    badge(view, i, words, colour, always = false) {
      const { data } = this;
      if (!Labrys.passes(data, view.filter, i) || this.layout.lane < 28) return;
      const until = data.outcome[i] === 2 ? Math.min(data.end[i], data.duration) : data.end[i];
      const [x, width] = this.span(view, data.start[i], until);
      if (width <= 0 || (width < 12 && !always)) return;
      const left = Math.max(x, GUTTER) + 1;
      if (!always && left < (this.taken.get(data.lane[i]) || 0)) return;
      this.text(words, left, this.laneTop(view, data.lane[i]) + 6, colour, "left", always ? `bold ${SMALL_FONT}` : SMALL_FONT);
    }

    // Vertical lines: the end of a prefix, the events of broken invariants, the ends of what is under the pointer.
    marks(view) {
      const { context, colours, data } = this;
      const line = (time, colour, dash, words) => {
        if (time < view.from || time > view.to) return;
        const x = Math.round(this.x(view, time)) + 0.5;
        context.strokeStyle = colour;
        context.setLineDash(dash);
        context.lineWidth = dash.length === 2 && dash[0] > 4 ? 2 : 1;
        context.beginPath();
        context.moveTo(x, AXIS - 4);
        context.lineTo(x, this.height);
        context.stroke();
        context.setLineDash([]);
        context.lineWidth = 1;
        if (words) this.flag(words, x, colour);
      };
      for (const broken of data.broken) for (const time of broken.times) line(time, colours.bad, [2, 3], "");
      if (view.violation) line(view.violation.end, colours.bad, [6, 3], "no legal order from here on");
      const i = view.hovered >= 0 ? view.hovered : view.selected;
      if (i >= 0) {
        line(data.start[i], colours.select, [2, 2], "");
        if (data.end[i] < Infinity) line(data.end[i], colours.select, [2, 2], "");
      }
    }

    flag(words, x, colour) {
      const width = this.textWidth(words) + 12;
      const left = x + width > this.width ? x - width : x;
      this.context.fillStyle = colour;
      this.context.fillRect(left, 2, width, AXIS - 6);
      this.text(words, left + 6, AXIS / 2 - 1, this.colours.paper);
    }
  }

  // The smallest of 1, 2, 5 times a power of ten of which `wanted` or fewer fit into `length`.
  function roundStep(length, wanted) {
    const raw = Math.max(1, length / Math.max(1, wanted));
    const power = 10 ** Math.floor(Math.log10(raw));
    return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= raw);
  }

  // `#rrggbb` without its opacity.
  function transparent(colour) {
    return /^#[0-9a-f]{6}$/i.test(colour) ? `${colour}00` : "transparent";
  }

  Object.assign(Labrys, { Painter, GUTTER });
})();
