// @ts-check
/** Signing in and out on a page, where the server has written the form for it. */

import { Account } from "./account.js";
import { element, say } from "./ui.js";

/**
 * The account on this page; null where the server names no Firebase project.
 * @param {object} on
 * @param {() => void} on.changed signed in or out
 * @param {(idToken: string) => void} on.renewed
 * @param {(why: string) => void} on.signedOut by Firebase
 * @returns {Account | null}
 */
export function findAccount(on) {
  const form = document.getElementById("sign-in");
  if (!(form instanceof HTMLFormElement)) return null;
  const { key = "", accounts = "", tokens = "" } = form.dataset;
  const account = new Account({ key, accounts, tokens }, on, storage());
  addEventListener("storage", (event) => account.elsewhere(event.key));
  follow(form, account);
  return account;
}

/** Shows the form, or the account that is signed in, or neither. @param {Account | null} account @param {"form" | "account" | "neither"} wanted */
export function showAccount(account, wanted) {
  if (!account) return;
  element("sign-in", HTMLFormElement).hidden = wanted !== "form";
  element("account", HTMLElement).hidden = wanted !== "account";
  say(element("account-name", HTMLElement), account.email);
}

/** Says why the form is there. @param {string} problem */
export function explainSignIn(problem) {
  const line = document.getElementById("sign-in-problem");
  if (!line) return;
  line.hidden = problem === "";
  say(line, problem);
}

function storage() {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

/** @param {HTMLFormElement} form @param {Account} account */
function follow(form, account) {
  const [email, password] = [element("sign-in-email", HTMLInputElement), element("sign-in-password", HTMLInputElement)];
  const note = element("sign-in-note", HTMLElement);
  let busy = false;
  /** One request at a time. @param {string} words @param {() => Promise<string>} request what to say when it is done */
  const perform = async (words, request) => {
    if (busy) return;
    busy = true;
    explainSignIn("");
    say(note, words);
    try {
      say(note, await request());
    } catch (error) {
      say(note, "");
      explainSignIn(error instanceof Error ? error.message : String(error));
    }
    busy = false;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    void perform("Signing in …", async () => {
      await account.signIn(email.value.trim(), password.value);
      password.value = "";
      return "";
    });
  });
  element("sign-in-reset", HTMLButtonElement).addEventListener("click", () => {
    if (!email.reportValidity()) return;
    void perform("One moment …", async () => {
      await account.resetPassword(email.value.trim());
      return "If that address has an account, a message with a link is on its way to it.";
    });
  });
  element("sign-out", HTMLButtonElement).addEventListener("click", () => account.signOut());
}
