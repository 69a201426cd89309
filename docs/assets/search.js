/* What is typed is searched as it stands: "--shard" is a word and no exclusion, "support-min-area" is all its parts,
   "J&F" is escaped as it is in the index, and the "a" of "write a method" is no beginning of "architecture". */
"use strict";
(() => {
  const post = Worker.prototype.postMessage;
  const query = (text) => text.replace(/&/g, "&amp;").split(/\s+/).map((word, _, words) => {
    const parts = word.split("-").filter(Boolean);
    if (parts.length > 1) return `+${parts.join(" +")}*`;
    return parts.join("") + (/^..?$/.test(word) && words.length > 1 ? "^1" : "");
  }).join(" ");
  Worker.prototype.postMessage = function (message, ...rest) {
    return post.call(this, message.type === 2 ? { ...message, data: query(message.data) } : message, ...rest);
  };
})();
