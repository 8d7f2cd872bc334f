// Times as a person reads them.

import type { HistoryItem } from "@roost/client";
import { app, short } from "../app.svelte";

/** The person's own kind of the language that the page speaks: hours are written otherwise in Dublin than in Boston. */
const kind = () => navigator.languages.find((one) => one.split("-")[0] === app.language) ?? app.language;

const at = (ms: number, style: Intl.DateTimeFormatOptions) => new Intl.DateTimeFormat(kind(), style).format(ms);

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

const UNITS: [Intl.NumberFormatOptions["unit"], number][] = [
  ["week", 604_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

/** For how long: "3 days", in the largest unit that says it whole. */
export function duration(seconds: number): string {
  const [unit, length] = UNITS.find(([, length]) => seconds >= length && seconds % length === 0) ?? ["second", 1];
  return new Intl.NumberFormat(app.language, { style: "unit", unit, unitDisplay: "long" }).format(seconds / length);
}

/** From now on: "in 3 hours". */
export function until(ms: number): string {
  const seconds = Math.max(0, Math.round((ms - Date.now()) / 1_000));
  const [unit, length] = UNITS.slice(1).find(([, length]) => seconds >= length) ?? ["second", 1];
  return new Intl.RelativeTimeFormat(app.language).format(Math.round(seconds / length), unit as Intl.RelativeTimeFormatUnit);
}

/** What a message that gives a conversation a timer says. */
export function timerText(item: HistoryItem): string {
  const who = item.own ? app.say("you") : short(item.from);
  return item.timer_s ? app.say("timerSet", who, duration(item.timer_s)) : app.say("timerOff", who);
}
