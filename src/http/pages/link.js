// @ts-check
/**
 * What the address says: `#livestream=…&token=…`, or `…&pass=…` for a listener. The token is taken out of the address bar at once, so that it is not
 * copied or photographed with it; it is kept for this tab alone, for a reload. Nothing of it ever travels in a request's
 * line or a referrer.
 */

/** @typedef {{livestream: string, token: string}} Link `token` is an ID token or a listening pass */

/** @param {"studio" | "listen"} page @returns {Link} empty strings for what is not there */
export function readLink(page) {
  const said = new URLSearchParams(location.hash.slice(1));
  const livestream = said.get("livestream") ?? "";
  const link = { livestream, token: said.get("pass") ?? said.get("token") ?? "" };
  const key = `castaway.${page}.${livestream}`;
  try {
    if (link.token) sessionStorage.setItem(key, JSON.stringify(link));
    else if (livestream) Object.assign(link, JSON.parse(sessionStorage.getItem(key) ?? "{}"));
  } catch {
    // storage is off: a reload needs the whole link again
  }
  if (said.has("pass") || said.has("token")) history.replaceState(null, "", `#${new URLSearchParams({ livestream })}`);
  return link;
}

/** The address that a listener opens. @param {string} livestream @param {string} pass */
export function listenAddress(livestream, pass) {
  const said = new URLSearchParams({ livestream, pass });
  return `${location.origin}/listen#${said}`;
}
