// The embedded columns (src/columns.rs is the other side of this seam) as typed arrays, and the questions that the
// timeline asks of them: what is visible in a lane, what lies under the pointer, what matches a search.
"use strict";
const Labrys = {};

(() => {
  const OUTCOMES = ["ok", "fail", "info"];
  // Whether times are nanoseconds; otherwise the history has none, and positions of events stand for them.
  let measured = true;

  // Times are nanoseconds since the start of the run; doubles hold those of a hundred days exactly.
  function decode(text) {
    const raw = JSON.parse(text);
    measured = raw.measured;
    const columns = raw.operations;
    const count = columns.index.length;
    const start = new Float64Array(count);
    const end = new Float64Array(count);
    const index = new Float64Array(count);
    let lastTime = 0;
    let lastIndex = 0;
    let clientEnd = 0;
    for (let i = 0; i < count; i++) {
      lastTime += columns.time[i];
      lastIndex += columns.index[i];
      start[i] = lastTime;
      index[i] = lastIndex;
      end[i] = columns.duration[i] < 0 ? Infinity : lastTime + columns.duration[i];
      clientEnd = Math.max(clientEnd, end[i] === Infinity ? lastTime : end[i]);
    }
    return {
      count,
      measured,
      start,
      end,
      index,
      completion: Float64Array.from(columns.completion),
      process: columns.process,
      lane: Uint32Array.from(columns.lane),
      f: Uint16Array.from(columns.f),
      outcome: Uint8Array.from(columns.outcome),
      key: Int32Array.from(columns.key),
      label: Uint32Array.from(columns.label),
      value: Uint32Array.from(columns.value),
      result: Uint32Array.from(columns.result),
      error: Uint32Array.from(columns.error),
      strings: raw.strings,
      lanes: raw.lanes,
      functions: raw.functions,
      keys: raw.keys,
      kinds: raw.kinds,
      faults: raw.faults,
      leaders: raw.leaders,
      violations: raw.violations,
      broken: raw.broken,
      duration: Math.max(raw.end, clientEnd, 1),
    };
  }

  // The first position in `list` (positions of operations, by start) whose operation starts at `time` or later.
  function lowerBound(list, start, time, from = 0) {
    let low = from;
    let high = list.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (start[list[middle]] < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // What passes the filter, by lane, and the lanes to show: all, or with a key those that have an operation on it. `rare` repeats what must not be lost among thousands of bars a pixel wide: all that
  // did not end ok. Operations that stay open behind their client's giving up are not "in" a lane after it.
  function select(data, filter) {
    const all = data.lanes.map(() => []);
    const rare = data.lanes.map(() => []);
    let count = 0;
    for (let i = 0; i < data.count; i++) {
      if (!passes(data, filter, i)) continue;
      count++;
      all[data.lane[i]].push(i);
      if (data.outcome[i] !== 0) rare[data.lane[i]].push(i);
    }
    const lanes = data.lanes.map((_, lane) => lane).filter((lane) => filter.key < 0 || all[lane].length > 0);
    return { all: all.map((list) => Uint32Array.from(list)), rare: rare.map((list) => Uint32Array.from(list)), lanes, count };
  }

  function passes(data, filter, i) {
    return (
      (filter.key < 0 || data.key[i] === filter.key) &&
      !filter.hiddenFunctions.has(data.f[i]) &&
      !filter.hiddenOutcomes.has(data.outcome[i])
    );
  }

  // How many operations were invoked in each of `buckets` equal parts of the run, by outcome.
  function density(data, selection, buckets) {
    const result = [new Uint32Array(buckets), new Uint32Array(buckets), new Uint32Array(buckets)];
    for (const list of selection.all) {
      for (const i of list) {
        const bucket = Math.min(buckets - 1, Math.floor((data.start[i] / data.duration) * buckets));
        result[data.outcome[i]][bucket]++;
      }
    }
    return result;
  }

  // The operation with that event index, as its invocation or its completion; -1 if there is none.
  function byIndex(data, index) {
    let low = 0;
    let high = data.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (data.index[middle] < index) low = middle + 1;
      else high = middle;
    }
    if (low < data.count && data.index[low] === index) return low;
    for (let i = Math.min(low, data.count) - 1; i >= 0; i--) {
      if (data.completion[i] > 0 && data.index[i] + data.completion[i] === index) return i;
    }
    return -1;
  }

  // Positions that match what was typed: `#12` or `12` an event, anything else (or nothing found) a part of a label,
  // result or error. At most `limit`.
  function search(data, selection, query, limit) {
    const number = /^#?(\d+)$/.exec(query.trim());
    if (number) {
      const found = byIndex(data, Number(number[1]));
      if (found >= 0) return [found];
    }
    const wanted = query.trim().toLowerCase();
    if (wanted === "") return [];
    const hit = data.strings.map((text) => text.toLowerCase().includes(wanted));
    const found = [];
    for (const list of selection.all) {
      for (const i of list) {
        if (hit[data.label[i]] || hit[data.value[i]] || hit[data.result[i]] || hit[data.error[i]]) found.push(i);
      }
    }
    found.sort((a, b) => a - b);
    return found.slice(0, limit);
  }

  // Why operations are in evidence: for each of them its role in a violation, the words for it and, in a
  // linearization, its place from 1.
  function evidence(violation) {
    const roles = new Map();
    if (!violation) return roles;
    violation.steps.forEach(([operation, state], position) => {
      const order = violation.omitted + position + 1;
      roles.set(operation, { role: "step", order, words: `number ${order} of a longest legal order; state after it: ${state}` });
    });
    for (const [operation, reason] of violation.candidates) {
      roles.set(operation, { role: "candidate", words: `could come next, but: ${reason}`, reason });
    }
    const last = roles.get(violation.operation);
    const reason = last && last.reason ? `: ${last.reason}` : "";
    roles.set(violation.operation, {
      role: "unplaceable",
      words: `its completion ends the shortest prefix without a legal order${reason}`,
      reason: last ? last.reason : "",
    });
    roles.delete(-1);
    return roles;
  }

  // As the tables write it (src/describe.rs): microseconds, cut off.
  function time(ns) {
    if (!measured) return String(Math.round(ns));
    return `${(Math.floor(ns / 1e3) / 1e6).toFixed(6)} s`;
  }

  function duration(ns) {
    if (!measured) return `${Math.round(ns)} events`;
    const [unit, name] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
    const amount = ns / unit;
    return `${amount.toFixed(unit === 1 || amount >= 100 ? 0 : amount >= 10 ? 1 : 2)} ${name}`;
  }

  // The details of an operation as pairs of name and text.
  function details(data, i, roles) {
    const text = (reference) => data.strings[reference];
    const rows = [["operation", `#${data.index[i]}  ${text(data.label[i])}`]];
    rows.push(["process", String(data.process[i])]);
    rows.push(["function", data.functions[data.f[i]]]);
    if (data.key[i] >= 0) rows.push(["key", data.keys[data.key[i]]]);
    if (data.value[i]) rows.push(["argument", text(data.value[i])]);
    if (data.result[i]) rows.push(["result", text(data.result[i])]);
    rows.push(["outcome", ["ok", "fail: it did not happen", "info: it may happen at any time after its invocation, or never"][data.outcome[i]]]);
    if (data.error[i]) rows.push(["error", text(data.error[i])]);
    rows.push(["invoked", time(data.start[i])]);
    if (data.end[i] < Infinity) {
      rows.push([data.outcome[i] === 2 ? "given up" : "completed", `${time(data.end[i])}, event #${data.index[i] + data.completion[i]}`]);
      rows.push(["took", duration(data.end[i] - data.start[i])]);
    } else {
      rows.push(["completed", "never in this history"]);
    }
    const role = roles.get(i);
    if (role) rows.push(["evidence", role.words]);
    for (const broken of data.broken) {
      if (broken.operations.includes(i)) rows.push(["evidence", broken.what]);
    }
    return rows;
  }

  Object.assign(Labrys, { OUTCOMES, decode, lowerBound, select, passes, density, byIndex, search, evidence, details, time, duration });
})();
