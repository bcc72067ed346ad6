// @ts-check
/**
 * What the address says: `/studio#livestream=…&token=…`, or `/listen/…#pass=…` for a listener, whose path names the
 * livestream so that the server says what is played. The token is taken out of the address bar at once, so that it is not
 * copied or photographed with it; it is kept for this tab alone, for a reload. Nothing of it ever travels in a request's
 * line or a referrer.
 */

/** @typedef {{livestream: string, token: string, isPass: boolean}} Link `token` is an ID token or a listening pass */

/** The livestream that a listening page's path names. */
function namedByPath() {
  const name = location.pathname.match(/^\/listen\/([^/]+)$/)?.[1] ?? "";
  try {
    return decodeURIComponent(name);
  } catch {
    return "";
  }
}

/** @param {"studio" | "listen"} page @returns {Link} empty strings for what is not there */
export function readLink(page) {
  const said = new URLSearchParams(location.hash.slice(1));
  const named = namedByPath();
  const livestream = said.get("livestream") ?? named;
  const link = { livestream, token: said.get("pass") ?? said.get("token") ?? "", isPass: said.has("pass") };
  const key = `castaway.${page}.${livestream}`;
  try {
    if (link.token) sessionStorage.setItem(key, JSON.stringify(link));
    else if (livestream) Object.assign(link, JSON.parse(sessionStorage.getItem(key) ?? "{}"));
  } catch {
    // storage is off: a reload needs the whole link again
  }
  if (page === "listen" && livestream) {
    // Also for a link of old, with the livestream in the fragment: a reload then says what is played.
    history.replaceState(null, "", `/listen/${encodeURIComponent(livestream)}`);
  } else if (said.has("pass") || said.has("token")) history.replaceState(null, "", `#${new URLSearchParams({ livestream })}`);
  return link;
}

/** The address that a listener opens. @param {string} livestream @param {string} pass */
export function listenAddress(livestream, pass) {
  return `${location.origin}/listen/${encodeURIComponent(livestream)}#${new URLSearchParams({ pass })}`;
}
