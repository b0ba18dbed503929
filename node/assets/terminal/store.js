// What a phone remembers: keys, the last known wallet, the node's time. It lies in the browser (IndexedDB) and nowhere else.

const NAME = "voucher-terminal";
const THINGS = "things";

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(THINGS);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function ask(mode, work) {
  const transaction = (await open()).transaction(THINGS, mode);
  const request = work(transaction.objectStore(THINGS));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/** Several things by their names, read at once: an object. */
export async function load(...names) {
  const store = (await open()).transaction(THINGS, "readonly").objectStore(THINGS);
  const one = (name) => new Promise((resolve, reject) => {
    const request = store.get(name);
    request.onsuccess = () => resolve([name, request.result]);
    request.onerror = () => reject(request.error);
  });
  return Object.fromEntries(await Promise.all(names.map(one)));
}

export const keep = (name, thing) => ask("readwrite", (store) => store.put(thing, name));
export const forgetAll = () => ask("readwrite", (store) => store.clear());
