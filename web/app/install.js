/** Makes the page installable, and gives it an offline page: registers the service worker where the browser allows one. */

export function registerServiceWorker() {
  if (!("serviceWorker" in navigator) || !window.isSecureContext) return;
  // Without it the page works as well, but has nothing to show without a network.
  navigator.serviceWorker.register("/sw.js", { updateViaCache: "none" }).catch(() => {});
}
