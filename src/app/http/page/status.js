// Shows what the gateway tells on the stream "events", and never more: without a pulse within LOST_AFTER everything is unknown.
// All that comes is text: it is only ever put into text nodes.
"use strict";

(() => {
  // The gateway gives a pulse each second.
  const LOST_AFTER = 5000;
  const RETRY = 3000;
  const ROWS_AT_ONCE = 200;

  const SOURCES = {
    command: "after a command of ours",
    event: "told by an access event",
    scenario: "locked by a scenario",
    hold: "held by this gateway",
    assumed: "assumed, without evidence",
    none: "no evidence",
  };
  // What is said of a door whose state is unknown although there is something to go by.
  const DOUBTS = { command: "a command of ours ended without proof", event: "access events do not prove it" };
  const PROBLEMS = { held_open: "held open", forced_open: "forced open", tamper: "tamper", fire: "fire alarm" };
  const CHECKS = {
    broker: "Broker", securing: "Connection for lockdowns", allowed: "Allowed here", clock: "Clock", token: "Key",
    scenarios: "Scenarios read", listed: "Scenarios listed", budget: "Requests left", round_trip: "Speed of Verkada",
    activate: "Last activate", drill: "Last drill",
  };
  const LOOKS = {
    locked: "good", unlocked: "warn", unlocking: "busy", active: "bad", inactive: "plain",
    done: "good", failed: "bad", refused: "warn", expired: "warn", merged: "plain", accepted: "busy",
  };
  const RESOLVED = {
    seen: "evidence showed later that it happened",
    not_seen: "no evidence showed it in time; it may have happened",
    denied: "the person was turned away",
  };
  const FILTERS = [
    ["all", "All", () => true],
    ["locked", "Locked", (door) => door.state === "locked"],
    ["unlocked", "Unlocked", (door) => door.state === "unlocked" || door.state === "unlocking"],
    ["unknown", "Unknown", (door) => door.state === "unknown"],
    ["problem", "With a problem", (door) => door.problems.length > 0],
  ];

  const $ = (id) => document.getElementById(id);
  const nothing = () => ({ doors: new Map(), scenarios: new Map(), gateway: null, commands: [], pulse: null });

  let shown = nothing();
  // What a stream has brought so far that has not told everything yet.
  let incoming = null;
  let version = null;
  let source = null;
  let live = false;
  let lastPulse = null;
  // By how much the gateway's clock is ahead, as the last pulse told, and the quickest one of this stream.
  let offset = 0;
  let quickest = null;
  let filter = "all";
  let room = ROWS_AT_ONCE;
  let sorted = null;
  let waiting = false;

  // ---- the stream

  function open() {
    source = new EventSource("events");
    source.addEventListener("begin", (event) => {
      const told = JSON.parse(event.data);
      if (version !== null && version !== told) {
        location.reload();
      }
      version = told;
      incoming = nothing();
      quickest = null;
    });
    for (const kind of ["doors", "scenarios"]) {
      on(kind, (rows, into) => {
        for (const row of rows) {
          into[kind].set(row.id, row);
        }
        if (kind === "doors" && into === shown) {
          sorted = null;
        }
      });
    }
    on("gateway", (gateway, into) => { into.gateway = gateway; });
    on("commands", (commands, into) => { into.commands = commands; });
    on("pulse", (pulse, into) => {
      into.pulse = pulse;
      if (into === incoming) {
        shown = incoming;
        incoming = null;
        sorted = null;
      }
      const ahead = Date.parse(pulse.now) - Date.now();
      // One that lay somewhere on its way is not the present; a new stream begins with that.
      if (quickest !== null && ahead < quickest - LOST_AFTER) {
        source.close();
        open();
        return;
      }
      quickest = Math.max(quickest ?? ahead, ahead);
      offset = ahead;
      lastPulse = { date: Date.now(), running: performance.now() };
      look();
    });
    source.onerror = () => {
      // A browser comes back by itself from a cut, but not from a refusal.
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(open, RETRY);
      }
    };
  }

  function on(kind, take) {
    source.addEventListener(kind, (event) => {
      take(JSON.parse(event.data), incoming ?? shown);
      draw();
    });
  }

  // Whether the gateway was heard of late. Clocks may be set and machines sleep: the longer of two measures counts.
  function look() {
    const silence = lastPulse === null
      ? Infinity
      : Math.max(Math.abs(Date.now() - lastPulse.date), performance.now() - lastPulse.running);
    const is = silence < LOST_AFTER;
    if (is !== live) {
      live = is;
      draw();
    }
  }

  // ---- drawing

  function draw() {
    if (!waiting) {
      waiting = true;
      setTimeout(() => { waiting = false; drawAll(); }, 50);
    }
  }

  function drawAll() {
    document.body.classList.toggle("lost", !live);
    drawHead();
    drawHealth();
    drawProblems();
    drawScenarios();
    drawDoors();
    drawCommands();
    tick();
  }

  function drawHead() {
    const gateway = shown.gateway;
    const lost = !live && lastPulse !== null;
    badge($("live"), live ? "live" : lost ? "not live" : "connecting", live ? "good" : lost ? "bad" : "unknown");
    put($("about"), gateway === null ? "" : `version ${gateway.version}, `, gateway === null ? null : "started ",
      gateway === null ? null : stamp(gateway.started));
    // Without ages: what changes here is read out.
    const notices = [];
    if (lost) {
      notices.push({
        id: "lost", look: "bad", title: "The connection to the gateway is lost",
        parts: ["Nothing was heard of it since ", clock(lastPulse.date + offset),
          ". What is true now is not known; this page tries to connect again."],
      });
    }
    if (live) {
      for (const alarm of gateway.alarms) {
        notices.push({
          id: `alarm ${alarm.name}`, look: "bad", title: `A lockdown is not confirmed: ${alarm.name}`,
          parts: [`${alarm.cause}. `, alarm.given_up ? "It is not tried any more. " : "It is still being tried. ",
            "Asked for at ", clock(Date.parse(alarm.since)), "."],
        });
      }
      for (const row of shown.scenarios.values()) {
        if (row.state === "active") {
          notices.push({
            id: `active ${row.id}`, look: "bad", title: `${row.name} is active`,
            parts: [row.confirmed === null ? "" : `${row.confirmed} of ${row.doors} doors are confirmed locked. `,
              ...row.since === null ? [] : ["First seen at ", clock(Date.parse(row.since)), "."]],
          });
        }
      }
    }
    sync($("urgent"), notices, (notice) => notice.id, () => {
      const box = element("div", "notice");
      box.append(element("strong"), element("span"));
      return box;
    }, (box, notice) => {
      box.className = `notice ${notice.look}`;
      put(box.firstChild, notice.title);
      put(box.lastChild, ...notice.parts);
    });
    const text = summary();
    put($("summary"), text);
    const active = live && [...shown.scenarios.values()].some((row) => row.state === "active");
    const sign = lost ? "Not live" : live && gateway.alarms.length > 0 ? "Lockdown not confirmed"
      : active ? "Scenario active" : live && gateway.problems.length > 0 ? "Problem" : "";
    document.title = sign === "" ? "verkada2mqtt" : `${sign} – verkada2mqtt`;
  }

  function summary() {
    if (!live) {
      return lastPulse === null ? "Waiting for the gateway." : "Nothing is known at the moment.";
    }
    const { gateway } = shown;
    const parts = [];
    parts.push(gateway.problems.length === 0 ? "No problem is known" : count(gateway.problems.length, "problem"));
    parts.push(gateway.ready === true ? "a lockdown could be started"
      : gateway.ready === false ? "a lockdown could not be started now" : "whether a lockdown could be started is not known");
    if (gateway.stopping) {
      parts.unshift("The gateway is stopping");
    }
    return `${parts.join("; ")}.`;
  }

  function drawHealth() {
    const { gateway, pulse } = shown;
    const cards = [];
    const card = (title, word, look, ...detail) => {
      cards.push(live ? { title, word, look, detail } : { title, word: "unknown", look: "unknown", detail: [] });
    };
    if (gateway !== null && pulse !== null) {
      const ready = { true: ["ready", "good"], false: ["not ready", "bad"], null: ["not known", "unknown"] }[gateway.ready];
      card("Lockdown readiness", ...ready, gateway.missing ?? "nothing is missing");
      link("Broker", gateway.broker);
      link("Broker, connection for lockdowns", gateway.securing);
      const vendor = { true: ["serves", "good"], false: ["does not serve", "bad"], null: ["not known", "unknown"] }[gateway.vendor];
      card("Verkada", ...vendor, gateway.vendor_trouble === null ? "" : `${gateway.vendor_trouble}; `,
        `key ${gateway.token}, webhooks ${gateway.webhook}`);
      const few = pulse.budget_left < 60;
      card("Requests left this minute", String(pulse.budget_left), few ? "warn" : "good", "shared by all that use this organisation's API");
      card("Commands under way", String(pulse.pending), pulse.pending > 0 ? "busy" : "plain", "access events read ",
        pulse.events_read === null ? "never" : stamp(pulse.events_read));
    }
    function link(title, row) {
      const [word, look] = row.proven ? ["proven", "good"] : row.up ? ["not proven", "warn"] : ["down", "bad"];
      card(title, word, look, row.proven ? `a heartbeat comes back, MQTT ${row.protocol}` : row.complaint ?? "no heartbeat has come back yet");
    }
    sync($("health"), cards, (row) => row.title, () => {
      const item = element("li");
      item.append(element("h3"), element("span", "badge"), element("p"));
      return item;
    }, (item, row) => {
      put(item.children[0], row.title);
      badge(item.children[1], row.word, row.look);
      put(item.children[2], ...row.detail);
    });
    const checks = gateway === null ? [] : gateway.checks;
    $("readiness").hidden = checks.length === 0;
    rows($("checks"), checks, (check) => check.name, (check) => ({
      name: CHECKS[check.name] ?? check.name,
      word: !live || check.ok === null ? "not known" : check.ok ? "good" : "missing",
      look: !live || check.ok === null ? "unknown" : check.ok ? "good" : "bad",
      detail: live ? [`${check.text}, since `, stamp(check.since)] : [],
    }));
  }

  function drawProblems() {
    const problems = live ? shown.gateway.problems : [];
    rows($("problems"), problems, (problem) => problem.kind, (problem) => ({
      name: problem.kind.replaceAll("_", " "), word: "problem", look: "bad",
      detail: problem.since === null ? [problem.text] : [`${problem.text}, since `, stamp(problem.since)],
    }));
    put($("problems-none"), !live ? "Not known." : problems.length === 0 ? "None is known." : "");
  }

  function drawScenarios() {
    const { pulse } = shown;
    const all = [...shown.scenarios.values()].sort(byName);
    rows($("scenarios"), all, (row) => row.id, (row) => {
      if (!live) {
        return was(row, row.state, count(row.doors, "door"));
      }
      const detail = [];
      if (row.unavailable !== null) {
        detail.push(row.unavailable);
      } else if (row.state === "active") {
        detail.push(row.confirmed === null ? "" : `${row.confirmed} of ${row.doors} doors confirmed locked; `, "first seen ",
          row.since === null ? "at an unknown time" : stamp(row.since), "; ");
      }
      if (row.unavailable === null && pulse !== null && pulse.scenarios_read !== null) {
        detail.push("read from Verkada ", stamp(pulse.scenarios_read));
      }
      return {
        name: row.name, under: [row.kind, count(row.doors, "door")].filter(Boolean).join(", "),
        word: row.state, look: LOOKS[row.state] ?? "unknown", detail,
      };
    });
    put($("scenarios-none"), all.length > 0 ? "" : live ? "Verkada lists none that is shown here." : "Not known.");
  }

  function drawDoors() {
    if (sorted === null) {
      sorted = [...shown.doors.values()].sort((a, b) => compare(a.site ?? "", b.site ?? "") || byName(a, b));
    }
    const wanted = $("find").value.trim().toLowerCase();
    const named = wanted === "" ? sorted
      : sorted.filter((door) => `${door.name}\n${door.site ?? ""}`.toLowerCase().includes(wanted));
    sync($("filters"), FILTERS, ([key]) => key, ([key]) => {
      const button = element("button");
      button.type = "button";
      button.addEventListener("click", () => {
        filter = key;
        room = ROWS_AT_ONCE;
        drawDoors();
      });
      return button;
    }, (button, [key, title, test]) => {
      put(button, live ? `${title} ${named.filter(test).length}` : title);
      button.setAttribute("aria-pressed", String(key === filter));
    });
    const test = FILTERS.find(([key]) => key === filter)[2];
    // While nothing is known no door is in any state.
    const found = live ? named.filter(test) : named;
    rows($("door-rows"), found.slice(0, room), (door) => door.id, (door) => {
      if (!live) {
        return was(door, door.state, door.site);
      }
      const detail = [];
      if (door.unavailable !== null) {
        detail.push(door.unavailable);
      } else {
        const doubt = door.state === "unknown" ? DOUBTS[door.source] : undefined;
        detail.push(doubt ?? SOURCES[door.source] ?? door.source);
        if (door.at !== null) {
          detail.push(", ", stamp(door.at));
        }
        if (door.relock_due !== null) {
          detail.push("; locks again at ", clock(Date.parse(door.relock_due)));
        }
        if (door.position === "open") {
          detail.push("; stands open");
        } else if (door.position === "closed") {
          detail.push("; closed");
        }
      }
      return {
        name: door.name, under: door.site, word: door.state, look: LOOKS[door.state] ?? "unknown", detail,
        chips: door.problems.map((word) => PROBLEMS[word] ?? word),
      };
    });
    const left = found.length - Math.min(found.length, room);
    $("more").hidden = left === 0;
    put($("more"), `Show more (${left} left)`);
    put($("doors-none"), found.length > 0 ? "" : sorted.length > 0 ? "No door is like this."
      : live ? "Verkada lists none that is shown here." : "Not known.");
  }

  function drawCommands() {
    rows($("commands"), shown.commands, (row) => String(row.number), (row) => {
      const detail = [];
      if (row.meaning !== null) {
        detail.push(`${row.reason}: ${row.meaning.replaceAll("`", "")} `);
      }
      if (row.resolved !== null) {
        detail.push(`Afterwards: ${RESOLVED[row.resolved] ?? row.resolved}. `);
      }
      detail.push("Came ", stamp(row.at));
      // What ended stays as it ended; what was under way may have ended meanwhile.
      const open = !live && row.finished === null;
      return {
        name: `${row.action ?? "unreadable"} ${row.name ?? row.target}`, under: place(row.target),
        word: open ? "unknown" : row.outcome, look: open ? "unknown" : LOOKS[row.outcome] ?? "unknown", detail,
      };
    });
    put($("commands-none"), shown.commands.length > 0 ? "" : live ? "None came since the start." : "Not known.");
  }

  // What a target is, and where: doors of several sites may have one name.
  function place(target) {
    const [kind, id] = target.split("/");
    const site = kind === "door" ? shown.doors.get(id)?.site : null;
    return site ? `${kind}, ${site}` : kind;
  }

  // A row of which only is known what it was.
  function was(row, state, under) {
    const detail = state === "unknown" ? ["was unknown before"] : [`was ${state} when last heard of, `];
    if (state !== "unknown" && lastPulse !== null) {
      detail.push(clock(lastPulse.date + offset));
    }
    return { name: row.name, under, word: "unknown", look: "unknown", detail };
  }

  // ---- building blocks

  function rows(list, items, key, picture) {
    sync(list, items, key, () => {
      const item = element("li");
      const name = element("span", "name");
      name.append(element("span"), element("small"));
      const state = element("span");
      state.append(element("span", "badge"));
      const detail = element("span", "detail");
      detail.append(element("span", "chips"), element("span"));
      item.append(name, state, detail);
      return item;
    }, (item, row) => {
      const { name, under, word, look, detail, chips } = picture(row);
      put(item.children[0].firstChild, name);
      put(item.children[0].lastChild, under ?? "");
      badge(item.children[1].firstChild, word, look);
      sync(item.children[2].firstChild, chips ?? [], (chip) => chip, () => element("span", "badge bad"), put);
      put(item.children[2].lastChild, ...detail);
    });
  }

  // Makes the children of a node those of a list, and keeps what is there already.
  function sync(parent, items, key, make, fill) {
    const old = new Map([...parent.children].map((child) => [child.key, child]));
    let at = parent.firstChild;
    for (const item of items) {
      const id = key(item);
      let child = old.get(id);
      if (child === undefined) {
        child = make(item);
        child.key = id;
      }
      old.delete(id);
      fill(child, item);
      if (child === at) {
        at = at.nextSibling;
      } else {
        parent.insertBefore(child, at);
      }
    }
    for (const child of old.values()) {
      child.remove();
    }
  }

  // Puts texts and times into a node, and touches nothing that is there already: what did not change is not read out again.
  function put(node, ...parts) {
    const wanted = parts.filter((part) => part !== null && part !== "");
    while (node.childNodes.length > wanted.length) {
      node.lastChild.remove();
    }
    wanted.forEach((part, index) => {
      const there = node.childNodes[index];
      if (typeof part === "string") {
        if (there === undefined || there.nodeType !== Node.TEXT_NODE) {
          swap(node, there, document.createTextNode(part));
        } else if (there.data !== part) {
          there.data = part;
        }
      } else {
        const time = there instanceof HTMLTimeElement ? there : document.createElement("time");
        if (time.dateTime !== part.time || time.dataset.form !== part.form) {
          time.dateTime = part.time;
          time.dataset.form = part.form;
          time.title = full(Date.parse(part.time));
          say(time);
        }
        if (time !== there) {
          swap(node, there, time);
        }
      }
    });
  }

  function swap(node, there, child) {
    if (there === undefined) {
      node.append(child);
    } else {
      there.replaceWith(child);
    }
  }

  function badge(node, word, look) {
    node.className = `badge ${look}`;
    put(node, word);
  }

  function element(name, kind) {
    const made = document.createElement(name);
    if (kind !== undefined) {
      made.className = kind;
    }
    return made;
  }

  // A time that is shown as an age, and one that is shown as it is.
  function stamp(time) {
    return { time, form: "age" };
  }

  function clock(milliseconds) {
    return { time: new Date(milliseconds).toISOString(), form: "clock" };
  }

  function say(time) {
    const at = Date.parse(time.dateTime);
    const text = time.dataset.form === "age" && live ? age((Date.now() + offset - at) / 1000) : short(at);
    put(time, text);
  }

  function age(seconds) {
    if (seconds < 1) {
      return "just now";
    }
    const [size, unit] = seconds < 90 ? [1, "s"] : seconds < 5400 ? [60, "min"] : seconds < 172800 ? [3600, "h"] : [86400, "days"];
    return `${Math.floor(seconds / size)} ${unit} ago`;
  }

  const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const hour = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

  function full(at) {
    return day.format(at);
  }

  function short(at) {
    const today = new Date(Date.now() + offset).toDateString() === new Date(at).toDateString();
    return (today ? hour : day).format(at);
  }

  function count(number, word) {
    return `${number} ${word}${number === 1 ? "" : "s"}`;
  }

  const { compare } = new Intl.Collator(undefined, { numeric: true });

  function byName(a, b) {
    return compare(a.name, b.name) || (a.id < b.id ? -1 : 1);
  }

  function tick() {
    look();
    document.querySelectorAll("time").forEach(say);
  }

  $("find").addEventListener("input", () => { room = ROWS_AT_ONCE; drawDoors(); });
  $("more").addEventListener("click", () => { room += ROWS_AT_ONCE; drawDoors(); });
  document.addEventListener("visibilitychange", tick);
  addEventListener("pageshow", tick);
  setInterval(tick, 1000);
  drawAll();
  open();
})();
