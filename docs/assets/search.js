/* What is typed is searched as it stands: "--shard" is a word and no exclusion, "support-min-area" is all its parts,
   and "J&F" is escaped as it is in the index. */
"use strict";
(() => {
  const post = Worker.prototype.postMessage;
  const query = (text) => text.replace(/&/g, "&amp;").split(/\s+/).map((word) => {
    const parts = word.split("-").filter(Boolean);
    return parts.length > 1 ? `+${parts.join(" +")}*` : parts.join("");
  }).join(" ");
  Worker.prototype.postMessage = function (message, ...rest) {
    return post.call(this, message.type === 2 ? { ...message, data: query(message.data) } : message, ...rest);
  };
})();
