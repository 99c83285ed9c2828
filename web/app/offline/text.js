/** The offline page's texts: apart from those of the page, because what is kept for it must not get into the page. */

/** @type {Record<string, {title: string, text: string, retry: string}>} */
export const OFFLINE = {
  en: {
    title: "No connection",
    text: "The server cannot be reached. This page goes on by itself when your network is back.",
    retry: "Try Again",
  },
  de: {
    title: "Keine Verbindung",
    text: "Der Server ist nicht zu erreichen. Diese Seite macht von selbst weiter, sobald dein Netz wieder da ist.",
    retry: "Noch einmal versuchen",
  },
};
