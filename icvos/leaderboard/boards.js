// The list from which a board is chosen: one's own first, found by name or by method. It stands between plot.js and page.js.

const detailOf = (table) => table.title.slice(table.title.startsWith(table.benchmark) ? table.benchmark.length : 0).replace(/^[\s,]+|; not measured here$/g, "");
function countOf(table) {
  const parts = table.entries.filter((entry) => entry.limited).length, runs = table.rows.length;
  return `${runs} ${table.kind === "measured" ? "run" : "row"}${runs === 1 ? "" : "s"}${parts ? `, ${parts} of a part` : ""}`;
}

function fillBoards() {
  DATA.groups.forEach((group, place) => {
    const tables = DATA.tables.map((table, number) => [table, number]).filter(([table]) => table.group === place);
    if (!tables.length) return;
    const box = make("div", null, { class: "group", role: "group", "aria-label": group });
    box.append(make("h3", `${group} (${tables.length})`));
    for (const [table, number] of tables) {
      const button = make("button", null, { type: "button", class: "board", "data-board": number });
      const words = make("span", null, { class: "words" });
      words.append(make("b", table.benchmark || table.title), " ", make("span", table.benchmark ? detailOf(table) : "", { class: "soft" }));
      button.append(words, make("span", countOf(table), { class: "soft runs" }));
      button.dataset.words = [group, table.title, ...table.rows.map((row) => row[table.name])].join(" ").toLowerCase();
      button.onclick = () => { element("boards").close(); choose(number); };
      box.append(button);
    }
    element("boards-list").append(box);
  });
  element("picker").textContent = `Boards (${DATA.tables.length})`;
}

const seenBoards = () => [...element("boards").querySelectorAll(".board")].filter((button) => !button.hidden);
function searchBoards() {
  const words = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const button of element("boards").querySelectorAll(".board")) {
    button.hidden = !words.every((word) => button.dataset.words.includes(word));
    if (Number(button.dataset.board) === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  for (const group of element("boards").querySelectorAll(".group")) group.hidden = !group.querySelector(".board:not([hidden])");
  element("boards-none").hidden = seenBoards().length > 0;
}

function openBoards() {
  element("search").value = "";
  searchBoards();
  element("boards").showModal();
  element("search").focus();
  element("boards").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
}

function boardKeys(event) {
  const boards = seenBoards(), at = boards.indexOf(document.activeElement);
  if (event.key === "Enter" && document.activeElement === element("search")) boards[0]?.click();
  else if (event.key === "Escape") element("boards").close(); // a browser's own would first empty the search
  else if (event.key === "ArrowDown") boards[Math.min(at + 1, boards.length - 1)]?.focus();
  else if (event.key === "ArrowUp") (at > 0 ? boards[at - 1] : element("search")).focus();
  else return;
  event.preventDefault();
}
