// The page's side of the worker: calls, and news.

import type { Failure } from "@roost/client";
import address from "./worker.ts?worker&url";
import { trusted } from "./trusted";
import type { Answer, Call, News, Own } from "./wire";

const worker = new Worker(trusted(address), { type: "module", name: "roost" });
const waiting = new Map<string, { done: (value: never) => void; failed: (error: Failure) => void }>();
const listeners = new Set<(news: News) => void>();

worker.onmessage = ({ data }: MessageEvent<Answer | News>) => {
  if ("news" in data) {
    for (const listener of listeners) listener(data);
    return;
  }
  const caller = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) caller?.failed(data.error);
  else caller?.done(data.value as never);
};

export function onNews(listener: (news: News) => void) {
  listeners.add(listener);
}

function post<T>(method: string, args: unknown[]): Promise<T> {
  const id = crypto.randomUUID();
  return new Promise<T>((done, failed) => {
    waiting.set(id, { done, failed });
    worker.postMessage({ id, method, args } satisfies Call);
  });
}

/** One of the worker's own methods. */
export function ask<Name extends keyof Own>(method: Name, ...args: Parameters<Own[Name]>): Promise<ReturnType<Own[Name]>> {
  return post(method, args);
}

/** A method of the core; durable on return. */
export function act<T = void>(method: string, ...args: unknown[]): Promise<T> {
  return post(method, args);
}
