// @ts-check
/** "Open in another player", where the server says that an address is enough. */

import { copyField, element } from "./ui.js";

/** @param {{livestream: string, token: string, isPass: boolean}} link */
export function offerPlayers(link) {
  const offer = document.getElementById("other-player");
  const needsPass = offer?.dataset.needs === "pass";
  if (!offer || (needsPass && !link.isPass)) return;
  const query = needsPass ? `?${new URLSearchParams({ pass: link.token })}` : "";
  const folder = `${location.origin}/livestreams/${encodeURIComponent(link.livestream)}`;
  element("player-address", HTMLInputElement).value = `${folder}/live${query}`;
  element("player-hls", HTMLAnchorElement).href = `${folder}/index.m3u8${query}`;
  offer.hidden = false;
}

/** To be called once. */
export function copyPlayerAddress() {
  const copy = document.getElementById("player-copy");
  copy?.addEventListener("click", () => void copyField(element("player-address", HTMLInputElement), copy));
}
