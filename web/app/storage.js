/** What the browser keeps for this page. Its settings may forbid that: then everything is as at the first visit. No DOM here. */

/**
 * @param {string} key
 * @returns {string | null}
 */
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} value
 */
export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // see above
  }
}

/**
 * What is kept until this tab is closed, and for no other tab.
 *
 * @param {string} key
 * @returns {string | null}
 */
export function recallInTab(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string} value
 */
export function rememberInTab(key, value) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // see above
  }
}
