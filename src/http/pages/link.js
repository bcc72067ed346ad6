// @ts-check
/**
 * What the address says: `#livestream=…&token=…`. The token is taken out of the address bar at once, so that it is not
 * copied or photographed with it; it is kept for this tab alone, for a reload. Nothing of it ever travels in a request's
 * line or a referrer.
 */

/** @typedef {{livestream: string, token: string, guest: string}} Link `guest` is a listener's token for the link to share */

/** @param {"studio" | "listen"} page @returns {Link} empty strings for what is not there */
export function readLink(page) {
  const said = new URLSearchParams(location.hash.slice(1));
  const livestream = said.get("livestream") ?? "";
  const link = { livestream, token: said.get("token") ?? "", guest: said.get("guest") ?? "" };
  const key = `castaway.${page}.${livestream}`;
  try {
    if (link.token) sessionStorage.setItem(key, JSON.stringify(link));
    else if (livestream) Object.assign(link, JSON.parse(sessionStorage.getItem(key) ?? "{}"));
  } catch {
    // storage is off: a reload needs the whole link again
  }
  if (said.has("token")) history.replaceState(null, "", `#${new URLSearchParams({ livestream })}`);
  return link;
}

/** The address that a listener opens. @param {Link} link */
export function listenAddress({ livestream, guest }) {
  const said = new URLSearchParams(guest ? { livestream, token: guest } : { livestream });
  return `${location.origin}/listen#${said}`;
}
