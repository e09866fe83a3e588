// What lets a person come back without a password: id and token, for this tab, and for this browser if wanted.

const KEY = 'imctl.login';

const OTHER = 'imctl.other'; // this tab wants another account than the browser's

const stores = () => [sessionStorage, localStorage];

/** {id, token, name, stay} or null. This tab's own comes first: another tab may be another account. */
export function rememberedLogin() {
  for (const store of stores()) {
    if (store === localStorage && sessionStorage.getItem(OTHER)) break;
    try {
      const login = JSON.parse(store.getItem(KEY));
      if (login?.id && login?.token) return login;
    } catch { /* not ours, or not allowed: nothing is remembered */ }
  }
  return null;
}

export function rememberLogin(login) {
  try {
    sessionStorage.removeItem(OTHER);
    sessionStorage.setItem(KEY, JSON.stringify(login));
    if (login.stay) localStorage.setItem(KEY, JSON.stringify(login));
  } catch { /* a browser that keeps nothing asks for the password next time */ }
}

export function forgetLogin(id) {
  for (const store of stores()) {
    try {
      if (JSON.parse(store.getItem(KEY))?.id === id) store.removeItem(KEY);
    } catch { /* nothing there to forget */ }
  }
}

/** Forgets for this tab alone: others go on. */
export function forgetHere() {
  sessionStorage.removeItem(KEY);
  sessionStorage.setItem(OTHER, '1');
}

/**
 * Claims an account for this tab. Resolves to a function that gives it up, or to null where another tab has it
 * and force is not set; onLost is called when another tab takes it by force.
 */
export function claim(id, force, onLost) {
  const free = () => {};
  free.held = true;
  if (!navigator.locks) return Promise.resolve(free);
  return new Promise((resolve) => {
    const options = force ? { steal: true } : { ifAvailable: true };
    let given = false;
    navigator.locks.request(`imctl ${id}`, options, (lock) => {
      if (!lock) {
        resolve(null);
        return undefined;
      }
      return new Promise((letGo) => {
        const release = () => { given = true; letGo(); };
        release.held = true;
        resolve(release);
      });
    }).catch(() => { if (!given) onLost(); });
  });
}
