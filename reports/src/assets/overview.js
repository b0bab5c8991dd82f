// Drawing the strip below the timeline: the whole run, by density, with the part that the timeline shows.
"use strict";

(() => {
  const { GUTTER, Painter } = Labrys;

  // The whole run on one strip: operations per pixel, faults, violations, and the part that the timeline shows.
  class Overview {
    constructor(canvas, data) {
      this.painter = new Painter(canvas, data);
      this.data = data;
      this.density = null;
    }

    resize(width, height) {
      this.painter.resize(width, height);
      this.density = null;
    }

    x(time) {
      return GUTTER + (time / this.data.duration) * (this.painter.width - GUTTER);
    }

    timeAt(x) {
      return ((x - GUTTER) / (this.painter.width - GUTTER)) * this.data.duration;
    }

    draw(view) {
      const { context, colours, width, height } = this.painter;
      const buckets = Math.max(1, Math.floor((width - GUTTER) / 2));
      if (!this.density || this.selection !== view.selection) {
        this.density = Labrys.density(this.data, view.selection, buckets);
        this.selection = view.selection;
      }
      context.textBaseline = "middle";
      context.fillStyle = colours.paper;
      context.fillRect(0, 0, width, height);
      context.fillStyle = colours.band;
      context.fillRect(GUTTER, 0, width - GUTTER, height);
      this.painter.text("overview", GUTTER - 8, height / 2, colours.soft, "right");
      for (const fault of this.data.faults) {
        context.globalAlpha = 0.22;
        context.fillStyle = colours.faults[fault.kind % 5];
        context.fillRect(this.x(fault.times[0]), 0, Math.max(1, this.x(fault.times[3]) - this.x(fault.times[0])), height);
      }
      context.globalAlpha = 1;
      this.bars(buckets, height);
      for (const violation of this.data.violations) {
        const current = violation === view.violation;
        context.globalAlpha = current || !view.violation ? 1 : 0.4;
        context.fillStyle = colours.bad;
        context.fillRect(this.x(violation.end) - 1, 0, current ? 2.5 : 1.5, height);
      }
      context.globalAlpha = 1;
      this.brush(view, height);
    }

    bars(buckets, height) {
      const { context, colours } = this.painter;
      let highest = 1;
      for (let at = 0; at < buckets; at++) highest = Math.max(highest, this.density[0][at] + this.density[1][at] + this.density[2][at]);
      for (let at = 0; at < buckets; at++) {
        let y = height;
        for (const [outcome, name] of [[0, "ok-edge"], [1, "fail-edge"], [2, "info-edge"]]) {
          const number = this.density[outcome][at];
          if (number === 0) continue;
          const tall = Math.max(1, (number / highest) * (height - 4));
          y -= tall;
          context.fillStyle = colours[name];
          context.fillRect(GUTTER + at * 2, y, 2, tall);
        }
      }
    }

    brush(view, height) {
      const { context, colours, width } = this.painter;
      const left = this.x(view.from);
      const right = Math.max(left + 3, this.x(view.to));
      context.globalAlpha = 0.6;
      context.fillStyle = colours.paper;
      context.fillRect(GUTTER, 0, left - GUTTER, height);
      context.fillRect(right, 0, width - right, height);
      context.globalAlpha = 1;
      context.strokeStyle = colours.select;
      context.lineWidth = 2;
      context.strokeRect(left, 1, right - left, height - 2);
      context.lineWidth = 1;
    }
  }

  Object.assign(Labrys, { Overview });
})();
