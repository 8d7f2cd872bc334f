// The WebSocket to a home: whole frames in and out, bounded in time.

/** What a socket is made of: the browser's and Node 22's own; another is given to `load`. */
export type SocketClass = new (url: string, protocol: string) => WebSocket;

let made: SocketClass | null = null;

/** Sockets are made of this class from now on. */
export function useSockets(of: SocketClass) {
  made = of;
}

/** How long a connection may take to stand, ms. */
const CONNECT_MS = 10_000;

/** The socket's address of a home's base URL. */
export function socketUrl(server: string): string {
  return server.replace(/^http/, "ws").replace(/\/+$/, "") + "/v1/socket";
}

const unreachable = (message: string) => ({
  code: "unreachable",
  message,
  hint: "check the address and that the node is running",
});

/** `WebSocket.OPEN`, which not every class of sockets is asked for. */
const OPEN = 1;

/** A connection. Frames wait until somebody takes them: one at a time by `next`, or all by `begin`. */
export class Socket {
  private waiting: Uint8Array[] = [];
  private take: ((frame: Uint8Array) => void) | null = null;
  private end: ((why: string, code: number) => void) | null = null;
  private ended: { why: string; code: number } | null = null;

  private constructor(private readonly socket: WebSocket) {
    socket.onmessage = (event) => {
      const frame = new Uint8Array(event.data as ArrayBuffer);
      if (this.take) this.take(frame);
      else this.waiting.push(frame);
    };
    socket.onclose = (event) => {
      this.ended = { why: event.reason || "the connection ended", code: event.code };
      this.end?.(this.ended.why, this.ended.code);
    };
    socket.onerror = () => undefined;
  }

  /** Connects to `http://HOST:PORT` or `https://…`. */
  static connect(server: string): Promise<Socket> {
    return new Promise((resolve, reject) => {
      let raw: WebSocket;
      try {
        raw = new (made ?? WebSocket)(socketUrl(server), "roost.v1.cbor");
      } catch {
        if (!made && typeof WebSocket === "undefined") {
          const hint = "Node 22 has one; before it give load a WebSocket, such as the package ws has";
          return reject({ code: "no_websocket", message: "there is no WebSocket here", hint });
        }
        return reject(unreachable(`${server} is no address of a home`));
      }
      raw.binaryType = "arraybuffer";
      const timer = setTimeout(() => raw.close(), CONNECT_MS);
      raw.onopen = () => {
        clearTimeout(timer);
        resolve(new Socket(raw));
      };
      // What follows is a close.
      raw.onerror = () => undefined;
      raw.onclose = () => {
        clearTimeout(timer);
        reject(unreachable("the home cannot be reached"));
      };
    });
  }

  send(frame: Uint8Array) {
    if (this.socket.readyState === OPEN) this.socket.send(frame as Uint8Array<ArrayBuffer>);
  }

  /** The next frame. */
  next(withinMs: number): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer);
        this.take = this.end = null;
      };
      const timer = setTimeout(() => {
        done();
        reject({ code: "timed_out", message: "no answer in time", hint: "try again" });
      }, withinMs);
      const take = (frame: Uint8Array) => (done(), resolve(frame));
      const end = (why: string) => (done(), reject(unreachable(why)));
      const waiting = this.waiting.shift();
      if (waiting) return take(waiting);
      if (this.ended) return end(this.ended.why);
      [this.take, this.end] = [take, end];
    });
  }

  /** Hands out every frame from now on, those that waited first. */
  begin(take: (frame: Uint8Array) => void, end: (why: string, code: number) => void) {
    [this.take, this.end] = [take, end];
    for (const frame of this.waiting.splice(0)) take(frame);
    if (this.ended) end(this.ended.why, this.ended.code);
  }

  close() {
    this.take = this.end = null;
    this.socket.close();
  }
}
