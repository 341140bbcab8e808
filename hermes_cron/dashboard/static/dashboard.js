// What a page cannot do by itself: send a key along, change something, and look again now and then.
// The key is kept in this tab only. A page that nobody looks at asks nothing: it must never keep a machine awake.
"use strict";

(() => {
  const KEY = "hermes-cron-key";
  const LOOK_MS = 5000;
  const PATIENCE_MS = 120000;
  let touched = Date.now();
  let shownAt = location.href;
  let looking = false;

  const byId = (id) => document.getElementById(id);
  const key = () => sessionStorage.getItem(KEY);

  function headers(more) {
    return key() ? { ...more, Authorization: `Bearer ${key()}` } : more;
  }

  function tell(words, bad) {
    const line = byId("said");
    if (!line) return;
    line.textContent = words;
    line.classList.toggle("bad", Boolean(bad));
    line.hidden = !words;
  }

  function tellLive(words) {
    const line = byId("live");
    if (line && line.textContent !== words) line.textContent = words;
  }

  function mark() {
    document.documentElement.classList.add("js");
    const out = byId("sign-out");
    if (out) out.hidden = !key();
    const field = byId("key");
    if (field) field.focus();
  }

  // Put the page that the server made in the place of this one. A script in it would not run; there is none.
  function put(text, whole) {
    const made = new DOMParser().parseFromString(text, "text/html");
    const told = byId("said");
    if (whole) document.body.replaceChildren(...made.body.childNodes);
    else document.querySelector("main").replaceChildren(...made.querySelector("main").childNodes);
    document.title = made.title;
    if (!whole && told && !told.hidden) byId("said").replaceWith(told);
    mark();
  }

  async function open(url, remember) {
    const answer = await fetch(url, { headers: headers({ Accept: "text/html" }), cache: "no-store" });
    if (answer.status === 401 && key()) sessionStorage.removeItem(KEY);
    const text = await answer.text();
    if (remember) history.pushState(null, "", url);
    shownAt = location.href;
    put(text, true);
    if (answer.status === 401) tell("That key opens nothing here.", true);
    if (remember) scrollTo(0, 0);
    return answer.ok;
  }

  function quiet() {
    return document.hidden || Date.now() - touched > PATIENCE_MS;
  }

  function busy() {
    const at = document.activeElement;
    return Boolean(at && at.closest("main form, main details")) || !getSelection().isCollapsed;
  }

  async function look() {
    if (looking || byId("sign-in") || !document.querySelector("nav")) return;
    if (quiet()) return tellLive("resting: move or press a key to look again");
    if (busy()) return;
    looking = true;
    const url = location.href;
    const unfolded = [...document.querySelectorAll("main details")].map((part) => part.open);
    try {
      const answer = await fetch(url, { headers: headers({ Accept: "text/html" }), cache: "no-store" });
      if (answer.status === 401) return put(await answer.text(), true);
      if (answer.ok && url === location.href && !busy()) {
        put(await answer.text(), false);
        document.querySelectorAll("main details").forEach((part, at) => { part.open = Boolean(unfolded[at]); });
        tellLive(`as of ${new Date().toLocaleTimeString()}`);
      }
    } catch {
      tellLive("no answer: it may be asleep");
      touched = 0;
    } finally {
      looking = false;
    }
  }

  async function act(button) {
    const { method, url, body, ask, label } = button.dataset;
    if (ask && !confirm(ask)) return;
    button.disabled = true;
    try {
      const sent = { method, headers: headers({ "Content-Type": "application/json" }) };
      if (body) sent.body = body;
      const answer = await fetch(url, sent);
      const said = await answer.json().catch(() => ({}));
      if (answer.ok && said.removed) await open("/jobs", true);
      else if (answer.ok) await open(location.href, false);
      if (!answer.ok) tell(said.error ? said.error.message : `It answered ${answer.status}.`, true);
      else if (said.arm === "wanted") tell(`${label}: done; NAS has not confirmed the alarm yet.`);
      else tell(answer.status === 202 ? `${label}: written down; a worker begins it within 15 s.` : `${label}: done.`);
    } catch {
      tell("No answer.", true);
    } finally {
      button.disabled = false;
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button && button.classList.contains("act")) return void act(button);
    if (button && button.id === "sign-out") {
      sessionStorage.removeItem(KEY);
      return void open("/", true);
    }
    const link = event.target.closest("a[href^='/']");
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;
    if (link && key() && plain) {
      event.preventDefault();
      open(link.getAttribute("href"), true).catch(() => tell("No answer.", true));
    }
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id === "sign-in") {
      event.preventDefault();
      sessionStorage.setItem(KEY, byId("key").value.trim());
      open(location.href, false).catch(() => tell("No answer.", true));
    } else if (key() && form.method === "get") {
      event.preventDefault();
      open(`${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`, true);
    }
  });

  addEventListener("popstate", () => {
    if (key() && location.href !== shownAt) open(location.href, false).catch(() => tell("No answer.", true));
  });

  function touch() {
    const rested = quiet();
    touched = Date.now();
    if (rested) look();
  }
  for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchstart"]) {
    addEventListener(kind, touch, { passive: true });
  }
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

  mark();
  setInterval(look, LOOK_MS);
  if (byId("sign-in") && key()) open(location.href, false).catch(() => tell("No answer.", true));
})();
