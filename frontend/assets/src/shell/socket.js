/* One socket of one shell (API.md §6): types, sizes, acknowledges what was drawn; comes back by itself when it is cut. */
const RETRY = [300, 1000, 2000, 4000, 8000];
const PIECE = 64 << 10; // bytes of what is typed in one message: the server takes no longer ones

export const csrf = () => /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "";

/** POST, and the JSON of the answer; {error} where it went wrong. */
export async function post(url, body) {
  try {
    const answer = await fetch(url, { method: "POST", body, credentials: "same-origin", headers: { Accept: "application/json", "X-CSRFToken": csrf() } });
    if (answer.redirected) return location.reload();
    const type = answer.headers.get("Content-Type") ?? "";
    return type.includes("json") ? { ...(await answer.json()), status: answer.status } : { error: `${answer.status} ${answer.statusText}`, status: answer.status };
  } catch (error) {
    return { error: error.message, status: 0 };
  }
}

export class ShellSocket {
  /** `on`: {output(bytes, drawn), told(object), state(name, text)}; states: connecting, open, lost, ended. */
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.tries = 0;
    this.over = false;
    this.encoder = new TextEncoder();
    this.connect();
  }

  async connect() {
    this.on.state("connecting");
    const answer = await post(this.url);
    if (this.over || !answer) return;
    if (!answer.location) {
      const retry = answer.status === 0 || answer.status >= 500;
      return retry ? this.again(answer.error) : this.end(answer.ended || answer.error);
    }
    const there = new URL(answer.location);
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${there.pathname}?control=1`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    let got = 0;
    let drawn = 0;
    socket.addEventListener("open", () => {
      this.on.state("open");
    });
    socket.addEventListener("message", ({ data }) => {
      this.tries = 0;
      if (typeof data === "string") {
        const told = JSON.parse(data);
        if (told.ended) this.reason = told.ended.detail;
        return this.on.told(told);
      }
      const first = got === 0;
      got += data.byteLength;
      const mine = got;
      this.on.output(new Uint8Array(data), () => {
        if (mine > drawn) drawn = mine;
        if (this.acked !== drawn) this.send("2", JSON.stringify({ acked: drawn }));
        this.acked = drawn;
      }, first);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (this.over) return;
      this.acked = 0;
      if (code === 1000 || this.reason) this.end(this.reason || reason);
      else if (code === 4403) this.again(reason);
      else this.again(reason);
    });
  }

  again(text) {
    if (this.tries >= 40) return this.end(text);
    this.on.state("lost", text);
    setTimeout(() => !this.over && this.connect(), RETRY[Math.min(this.tries++, RETRY.length - 1)]);
  }

  end(text) {
    this.over = true;
    this.on.state("ended", text);
  }

  send(kind, text) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const body = typeof text === "string" ? this.encoder.encode(text) : text;
    for (let at = 0; at === 0 || at < body.length; at += PIECE) {
      const piece = body.subarray(at, at + PIECE);
      const frame = new Uint8Array(piece.length + 1);
      frame[0] = kind.charCodeAt(0);
      frame.set(piece, 1);
      this.socket.send(frame);
    }
  }

  /** A piece of a file (machines/consumers.py). */
  piece(number, bytes) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const frame = new Uint8Array(bytes.length + 5);
    frame[0] = "4".charCodeAt(0);
    new DataView(frame.buffer).setUint32(1, number);
    frame.set(bytes, 5);
    this.socket.send(frame);
  }

  close() {
    this.over = true;
    this.socket?.close();
  }
}
