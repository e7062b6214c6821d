// The page as it is now replaces what changed in it; nothing is drawn here.
const known = () => document.getElementById("main").dataset.event;
let waiting;

async function renew() {
  waiting = undefined;
  const answer = await fetch("/", { cache: "no-cache" });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const open = new Set([...document.querySelectorAll("li:has(> details[open]) h3")].map((one) => one.textContent));
  for (const one of page.querySelectorAll("li:has(> details)")) {
    one.querySelector("details").open = open.has(one.querySelector("h3").textContent);
  }
  const words = document.getElementById("words");
  const fresh = page.getElementById("words");
  // The heading stays the same element, or no screen reader would say its new words.
  if (words.textContent !== fresh.textContent) words.textContent = fresh.textContent;
  words.parentElement.className = fresh.parentElement.className;
  words.parentElement.querySelector("use").setAttribute("href", fresh.parentElement.querySelector("use").getAttribute("href"));
  const [main, renewed] = [document.getElementById("main"), page.getElementById("main")];
  main.replaceChildren(words.parentElement, ...[...renewed.children].slice(1));
  main.dataset.event = renewed.dataset.event;
  document.title = page.title;
}

function tell(text) {
  const at = document.getElementById("at");
  document.getElementById("live").replaceChildren(text, at);
}

const source = new EventSource("/events");
source.addEventListener("status", (event) => {
  // Not all visitors at once.
  if (event.lastEventId !== known()) waiting ??= setTimeout(renew, Math.random() * 1500);
});
source.addEventListener("checked", (event) => {
  const at = document.getElementById("at");
  at.dateTime = JSON.parse(event.data).at;
  at.textContent = at.dateTime.slice(11, 16) + " UTC";
});
source.addEventListener("open", () => tell("Live, last checked at "));
source.addEventListener("error", () => tell("Not live at the moment, last checked at "));
