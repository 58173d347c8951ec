// Tells when the stream of live parts is lost, and when it is there again.
(function () {
  "use strict";
  function show(isLost) {
    var notice = document.getElementById("lost");
    if (notice) notice.hidden = !isLost;
  }
  document.addEventListener("htmx:sseError", function () { show(true); });
  document.addEventListener("htmx:sseOpen", function () { show(false); });
})();
