// Times as a person reads them.

import { app } from "../app.svelte";

const at = (ms: number, style: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(app.language, style).format(ms);

const startOfDay = (ms: number) => new Date(ms).setHours(0, 0, 0, 0);

/** The hour. */
export const hour = (ms: number) => at(ms, { hour: "2-digit", minute: "2-digit" });

/** For a list: the hour today, the weekday this week, else the date. */
export function near(ms: number): string {
  const days = Math.round((startOfDay(Date.now()) - startOfDay(ms)) / 86_400_000);
  if (days <= 0) return hour(ms);
  if (days < 7) return at(ms, { weekday: "short" });
  return at(ms, { day: "numeric", month: "short" });
}

/** A day as a heading. */
export function day(ms: number): string {
  const days = Math.round((startOfDay(Date.now()) - startOfDay(ms)) / 86_400_000);
  if (days <= 0) return app.say("today");
  if (days === 1) return app.say("yesterday");
  const year = new Date(ms).getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return at(ms, { weekday: "long", day: "numeric", month: "long", year });
}

export const sameDay = (a: number, b: number) => startOfDay(a) === startOfDay(b);

/** Day and hour. */
export const full = (ms: number) => at(ms, { dateStyle: "medium", timeStyle: "short" });
